"""The recorder: what the loop, the chain and the strategies tell of themselves, put together as a trace.

    recorder = Recorder()
    generate_batch(runner, sources, options, recorder=recorder)
    recorder.requests

A new strategy tells it what it chose among (`considered`), and what it drew (`drew`). Nothing that is recorded changes
what is decoded: full logits come from the runner's trace, beside the answer that the strategy asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from weft.decode.decided import Considered, Decided, put_together
from weft.decode.rows import Request
from weft.decode.summary import summary
from weft.decode.watched import Seen, Watched
from weft.errors import UsageError
from weft.spec.decoding_trace import Guesses, RequestTrace, Step
from weft.spec.events import FinishedEvent, Hypothesis
from weft.spec.runner import Runner
from weft.spec.trace import Trace

if TYPE_CHECKING:
    from weft.decode.ahead import Guess
    from weft.decode.strategies.strategy import Outcome


@dataclass
class _Recorded:
    """One request so far."""

    request: Request
    reading: dict[str, np.ndarray] = field(default_factory=dict)
    count: int = 0
    """Steps that were decided."""
    steps: list[Step] = field(default_factory=list)
    """Those that are put together."""
    rounds: list[tuple[int, Sequence[Guess]]] = field(default_factory=list)
    """(number of the step that comes next, guesses) of every reading ahead, those without guesses too."""
    results: tuple[Hypothesis, ...] = (Hypothesis((), (), 0.0, "limit"),)
    """What the loop gives a request without tokens to come; the others tell their own."""

    def proposal(self) -> list[int]:
        """The guess at the next token, or nothing."""
        start, guesses = self.rounds[-1] if self.rounds else (0, ())
        return [guess.token for guess in guesses[self.count - start :][:1]]

    def guesses(self) -> tuple[Guesses, ...]:
        if not self.rounds:
            return ()
        chosen = [int(step.continuations.tokens[0]) for step in self.steps]
        ends = [start for start, _ in self.rounds[1:]] + [len(chosen)]
        told = []
        for (start, guesses), end in zip(self.rounds, ends, strict=False):
            tokens = [guess.token for guess in guesses]
            right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(tokens, chosen[start:end], strict=False)))
            drawn = [np.nan if guess.probabilities is None else guess.probabilities[guess.token] for guess in guesses]
            told.append(Guesses(start, np.array(tokens, np.int64), np.array(drawn, np.float64), right))
        return tuple(one for one in told if len(one.tokens))


class Recorder:
    """candidates: likeliest tokens of each row to keep. layers, heads: numbers of those whose attention (and, of layers,
    hidden states) is kept; None for all."""

    def __init__(self, candidates: int = 10, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None) -> None:
        self.candidates, self.heads = candidates, heads
        self.patterns = ("*",) if layers is None else (
            "logits", "*.embedding", "encoder.hidden", "decoder.hidden", "decoder.attention.weights",
            *(f"*.blocks.{layer}.*" for layer in layers))
        self._recorded: dict[int, _Recorded] = {}
        self._decoding: list[_Recorded] = []
        self.seen = Seen(np.empty((0, 0), np.float32), (), {})
        """What the step that is to be decided has come to."""
        self.seen_ahead: list[Seen] = []
        """The same of each token that was read together."""
        self._considered: tuple[Considered, Seen] | None = None
        self._decided: list[Decided] = []
        """Steps that wait to be put together."""
        self._reads_on = False

    @property
    def requests(self) -> tuple[RequestTrace, ...]:
        """The trace of every request, once decoding is over."""
        for request, step in put_together(self._decided, self.heads):
            self._recorded[request.index].steps.append(step)
        self._decided = []
        return tuple(RequestTrace("", tuple(one.request.source), tuple(one.request.prompt), one.request.limit,
                                  one.request.seed, one.request.stream, one.reading, tuple(one.steps), one.results,
                                  guesses=one.guesses())
                     for one in self._recorded.values())

    # ------------------------------------------------------------ told by the loop and its runner

    def watch(self, runner: Runner, requests: Sequence[Request]) -> Runner:
        """The runner to decode these requests with."""
        self._recorded = {request.index: _Recorded(request) for request in requests}
        return Watched(runner, self)

    def begins(self, requests: Sequence[Request]) -> None:
        """These are decoded together now."""
        self._decoding = [self._recorded[request.index] for request in requests]

    def read(self, trace: Trace, lengths: Sequence[int]) -> None:
        """What came of reading sources or prompts of these lengths, each of as many requests in a row."""
        for place, one in enumerate(self._decoding):
            place = place * len(lengths) // len(self._decoding)
            if lengths[place]:
                one.reading = {name: self._own(name, array[place], lengths[place]) for name, array in trace.arrays.items()}

    def _own(self, name: str, array: np.ndarray, length: int) -> np.ndarray:
        """[T, D] or [H, T, T] without padding, which an encoder has on the right and a decoder on the left."""
        own = slice(length) if name.startswith("encoder") else slice(array.shape[-2] - length, None)
        return self._chosen_heads(array[:, own, own]) if name.endswith("weights") else array[own].copy()

    def _chosen_heads(self, weights: np.ndarray) -> np.ndarray:
        """weights [H, ...] of the heads asked for, a copy."""
        wanted = range(len(weights)) if self.heads is None else [head for head in self.heads if head < len(weights)]
        return weights[list(wanted)]

    def decided(self, outcome: Outcome) -> None:
        """A step ends with the strategy's decision."""
        considered, self._considered = self._considered, None
        if self._reads_on:
            self._reads_on = False
            return
        told, seen = considered or (None, self.seen)
        if told is None or told.sums.size != len(seen.logits):
            raise UsageError("this way of decoding does not tell a recorder what it considers, so it cannot be traced; leave "
                             "out the options that ask for it, or the trace")
        for event in outcome.events:
            if isinstance(event, FinishedEvent):
                self._recorded[event.request].results = event.hypotheses
        ones = [self._recorded[request.index] for request in told.requests]
        numbers = summary(seen.logits, seen.banned, list(seen.processed.values()), self.candidates, *self._chosen(told))
        self._decided.append(Decided(told, outcome, [one.count for one in ones], seen.stages, numbers, seen.drawn, seen.points))
        for one in ones:
            one.count += 1

    def _chosen(self, told: Considered) -> tuple[np.ndarray, np.ndarray]:
        """Rows, and tokens of them, that are candidates however unlikely: see Step.candidates."""
        rows, tokens = told.chosen()
        guessed = [(place * told.width, token) for place, request in enumerate(told.requests)
                   for token in self._recorded[request.index].proposal()]
        if not guessed:
            return rows, tokens
        more = np.array(guessed, np.int64).T
        return np.concatenate((rows, more[0])), np.concatenate((tokens, more[1]))

    # ------------------------------------------------------------ told by the chain, by strategies, and by what guesses ahead

    def processed(self, name: str, scores: np.ndarray) -> None:
        """What a processor made of the scores, [rows, vocabulary]."""
        self.seen.processed[name] = np.array(scores, np.float32, order="C")

    def drew(self, uniform: np.ndarray) -> None:
        """The random numbers of a step, float64 [rows]."""
        self.seen.drawn = uniform

    def considered(self, requests: Sequence[Request], sums: np.ndarray, parents: np.ndarray, tokens: np.ndarray,
                   log_probs: np.ndarray, scores: np.ndarray, ended: np.ndarray | None = None, *, seen: Seen | None = None,
                   measures: Mapping[str, np.ndarray] | None = None) -> None:
        """Continuations of Q requests of W rows each, as the fields of `Step` and `Continuations` say: sums [Q, W], the
        others [Q, C]. A score of -inf is no continuation. ended: bool, None where all that the outcome does not go on with
        have ended. seen: what an earlier step saw, where the choice was put off."""
        self._considered = Considered(requests, sums.copy(), parents, tokens, log_probs, scores, ended,
                                      measures or {}), seen or self.seen

    def reads_on(self) -> None:
        """What the loop takes for a decision next is none: its tokens are read first, and chosen among after that. A choice
        that was made besides is told by `decided` before."""
        self._reads_on = True

    def guessed(self, request: Request, guesses: Sequence[Guess]) -> None:
        """What is read ahead along with the last token, from the next step on."""
        one = self._recorded[request.index]
        one.rounds.append((one.count, list(guesses)))
