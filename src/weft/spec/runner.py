"""What decoding asks of a backend. No torch, no arrays made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from weft.spec.trace import Trace


@dataclass(frozen=True)
class Best:
    """A step's answer in short: the `k` likeliest tokens of each row.

    tokens: int64 [rows, k], by falling probability, ties to the lowest id.
    log_probs: float32 [rows, k], log-softmax over the whole vocabulary (banned ids left out of it).
    """

    tokens: np.ndarray
    log_probs: np.ndarray


class Runner(Protocol):
    """A backend as decoding sees it: four verbs, and others that some ways of decoding need. State is its own and opaque.

    One runner decodes one batch at a time; `start` forgets the batch before. A shallow copy shares the weights and has state of
    its own from its `start` on. A `trace` collects inspection points (weft.spec.trace) of one call.
    """

    eos: int | None
    start_token: int
    vocabulary_size: int
    max_target: int
    """Most positions the decoder can hold, start token included."""

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        """Run the encoder over ragged token ids. Returns an opaque memory with one entry per source."""
        ...

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        """Begin decoding `copies` rows per source: rows 0..copies-1 belong to source 0, and so on.

        A decoder-only model gets `memory=None` and ragged `prefix` (its prompts, without their last token).
        watch: keep the cross-attention of each step for `attention`; only given where it is asked for. Raises UsageError
        if the model has none.
        """
        ...

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        """Feed one token id per row, int64 [rows].

        Returns logits float32 [rows, vocabulary], which the caller may write to, or with `best=k` the k likeliest as a `Best`
        (then `banned` ids are excluded before the softmax).

        Where a source has one row, T tokens of each can be fed at once, int64 [rows, T]; the answer has rows * T rows, and so
        has a trace, which only a runner whose `traces_together` is true collects then.
        """
        ...

    def gather(self, rows: np.ndarray) -> None:
        """Make row i continue what row `rows[i]` held. int64 [new rows]; fewer rows than before drops some."""
        ...

    # ------------------------------------------------------------ for some ways of decoding

    def select(self, logits: np.ndarray, best: int) -> Best:
        """What `step` with `best` would have answered, had these been its logits: float32 [rows, vocabulary], as rules have
        changed them. Where they leave nothing, log-probabilities are -inf.
        """
        ...

    def drop(self, count: int) -> None:
        """Forget the `count` tokens fed last, of every row (speculative decoding). Raises UsageError where it cannot."""
        ...

    def hidden(self, prompt: bool = False) -> np.ndarray:
        """The decoder's last hidden states, before the head: of the tokens fed last, float32 [rows, D].

        prompt: of what `start` read instead, float32 [sources, longest, D], padded on the left; [sources, 0, D] if nothing.
        """
        ...

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]]) -> np.ndarray:
        """Logits of given texts in one pass, float32 [B, T, vocabulary]; rows of `target` begin with the start token.

        What stands past the end of a row means nothing.
        """
        ...

    def attention(self) -> np.ndarray:
        """What the last step looked at, float32 [rows, S]: the cross-attention of the decoder's last layer, averaged over
        its heads; 0 past the end of a source. Only after `start` with watch.
        """
        ...


@dataclass(eq=False)
class Step:
    """A step that a batch waits for, `runner.step(tokens, best, banned)`. Who takes it leaves the answer in `scores`, or what
    went wrong in `error`."""

    runner: Runner
    tokens: np.ndarray
    best: int | None
    banned: Sequence[int]
    scores: np.ndarray | Best | None = None
    error: Exception | None = None

    @property
    def is_taken(self) -> bool:
        return self.scores is not None or self.error is not None

    def take(self) -> None:
        """By itself."""
        self.scores = self.runner.step(self.tokens, self.best, self.banned)

    def answer(self) -> np.ndarray | Best:
        """Raises the error."""
        if self.error is not None:
            raise self.error
        assert self.scores is not None, "nobody took the step"
        return self.scores


class Together(Protocol):
    """Rows of many batches that are read in one pass, though each began when it liked and goes on as it likes."""

    def seat(self) -> Runner:
        """A runner for one batch. Its `step` is taken with those of others; of the other verbs it has the four and `select`."""
        ...

    def step(self, asked: Sequence[Step]) -> None:
        """Take all these steps but those whose prompts are still being read. Rows of a runner for whom no step is asked are let
        go. After an error that is no single step's none of them can go on.
        """
        ...


class TextRunner(Runner, Protocol):
    """A backend's own runner, which also reads whole texts."""

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]], trace: Trace | None = None
               ) -> np.ndarray: ...

    def score(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None, trace: Trace | None = None
              ) -> np.ndarray:
        """What the head says of texts, float32: [B, S, V] (language model), [B, S, labels] (tags), [B, labels] (classes) or
        [B, D] (embedding). types: kinds of segment (encoder-only). What stands past the end of a row means nothing.
        """
        ...

    def score_all(self, rows: Sequence[Sequence[int]], most: int = 4096) -> list[np.ndarray]:
        """`score` of any number of texts, each without its padding; about `most` positions at a time."""
        ...

    def log_probs(self, rows: Sequence[Sequence[int]], most: int = 4096) -> list[np.ndarray]:
        """Decoder-only: float32 log p of every token of each row but its first, given those before it."""
        ...
