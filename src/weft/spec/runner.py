"""What decoding asks of a backend. No torch, no arrays made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Best:
    """A step's answer in short: the `k` likeliest tokens of each row.

    tokens: int64 [rows, k], by falling probability, ties to the lowest id.
    log_probs: float32 [rows, k], log-softmax over the whole vocabulary (banned ids left out of it).
    """

    tokens: np.ndarray
    log_probs: np.ndarray


class Runner(Protocol):
    """A backend as decoding sees it: four verbs. State is the runner's own and opaque.

    One runner decodes one batch at a time; `start` forgets the batch before.
    """

    eos: int | None
    start_token: int
    vocabulary_size: int
    max_target: int
    """Most positions the decoder can hold, start token included."""

    def encode(self, source: Sequence[Sequence[int]]) -> Any:
        """Run the encoder over ragged token ids. Returns an opaque memory with one entry per source."""
        ...

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None) -> None:
        """Begin decoding `copies` rows per source: rows 0..copies-1 belong to source 0, and so on.

        A decoder-only model gets `memory=None` and ragged `prefix` (its prompts, without their last token).
        """
        ...

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        """Feed one token id per row, int64 [rows].

        Returns logits float32 [rows, vocabulary], or with `best=k` the k likeliest as a `Best`
        (then `banned` ids are excluded before the softmax).
        """
        ...

    def gather(self, rows: np.ndarray) -> None:
        """Make row i continue what row `rows[i]` held. int64 [new rows]; fewer rows than before drops some."""
        ...
