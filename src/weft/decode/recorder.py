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

from weft.decode.best import best_of
from weft.decode.rows import Request
from weft.decode.watched import Seen, Watched
from weft.errors import UsageError
from weft.spec.decoding_trace import FINISHED, KEPT, PRUNED, Continuations, Guesses, RequestTrace, Step
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
    steps: list[Step] = field(default_factory=list)
    rounds: list[tuple[int, Sequence[Guess]]] = field(default_factory=list)
    """(number of the step that comes next, guesses) of every reading ahead, those without guesses too."""
    results: tuple[Hypothesis, ...] = (Hypothesis((), (), 0.0, "limit"),)
    """What the loop gives a request without tokens to come; the others tell their own."""

    def proposal(self) -> list[int]:
        """The guess at the next token, or nothing."""
        start, guesses = self.rounds[-1] if self.rounds else (0, ())
        return [guess.token for guess in guesses[len(self.steps) - start :][:1]]

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


@dataclass(frozen=True)
class _Considered:
    """What a strategy chose among: sums [Q, R], the others [Q, C]; ended: None where all that is not kept has."""

    requests: Sequence[Request]
    seen: Seen
    sums: np.ndarray
    parents: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    scores: np.ndarray
    ended: np.ndarray | None
    measures: Mapping[str, np.ndarray]


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
        self.seen = Seen([], {})
        """What the step that is to be decided has come to."""
        self.seen_ahead: list[Seen] = []
        """The same of each token that was read together."""
        self._considered: _Considered | None = None
        self._reads_on = False

    @property
    def requests(self) -> tuple[RequestTrace, ...]:
        """The trace of every request, once decoding is over."""
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
        told, self._considered = self._considered, None
        if self._reads_on:
            self._reads_on = False
            return
        if told is None or told.sums.size != len(told.seen.stages[0][1]):
            raise UsageError("this way of decoding does not tell a recorder what it considers, so it cannot be traced; leave "
                             "out the options that ask for it, or the trace")
        width = told.sums.shape[1]
        parents, following = np.asarray(outcome.parents), np.asarray(outcome.tokens)
        alive = np.ones(len(parents), bool) if outcome.alive is None else outcome.alive
        arrays = _describe(told.seen.stages, self._chosen_ids(told))
        stages = tuple(name for name, _ in told.seen.stages)
        drawn = np.full(len(told.sums) * width, np.nan) if told.seen.drawn is None else told.seen.drawn
        for event in outcome.events:
            if isinstance(event, FinishedEvent):
                self._recorded[event.request].results = event.hypotheses
        for place, request in enumerate(told.requests):
            one, rows = self._recorded[request.index], slice(place * width, (place + 1) * width)
            mine = parents // width == place
            kept = {(int(parent) % width, int(token)): row for row, (parent, token, lives) in
                    enumerate(zip(parents[mine], following[mine], alive[mine], strict=True)) if lives}
            one.steps.append(Step(
                told.sums[place], stages, drawn=drawn[rows], continuations=_continuations(told, place, kept),
                points=self._of_rows(one, told.seen.points, rows),
                **{name: array[rows] if name == "candidates" else array[:, rows] for name, array in arrays.items()}))

    def _chosen_ids(self, told: _Considered) -> np.ndarray:
        """int64 [all rows, C]: see Step.candidates."""
        rows = best_of(told.seen.stages[0][1], self.candidates).tokens.tolist()
        last = told.seen.stages[-1][1]
        if len(told.seen.stages) > 1:
            ranked = best_of(last, self.candidates)
            for row, tokens, scores in zip(rows, ranked.tokens.tolist(), ranked.log_probs.tolist(), strict=True):
                row.extend(token for token, score in zip(tokens, scores, strict=True) if score > -np.inf)
        width = told.sums.shape[1]
        for place, column in np.argwhere(np.isfinite(told.scores)).tolist():
            rows[place * width + told.parents[place, column]].append(int(told.tokens[place, column]))
        for place, request in enumerate(told.requests):
            rows[place * width].extend(self._recorded[request.index].proposal())
        distinct = [list(dict.fromkeys(row)) for row in rows]
        most = max(map(len, distinct))
        return np.array([row + [-1] * (most - len(row)) for row in distinct], np.int64)

    def _of_rows(self, one: _Recorded, points: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
        """The step's inspection points of one request."""
        source, history = len(one.request.source), len(one.request.prompt) + len(one.steps)
        found = {}
        for name, array in points.items():
            array = array[rows]
            if name.endswith("self_attention.weights"):  # a prompt is padded on the left
                array = array[:, :, 0, array.shape[-1] - history :]
            elif name.endswith("weights"):
                array = array[:, :, 0, :source]
            else:
                found[name] = array[:, 0].copy()
                continue
            found[name] = self._chosen_heads(array.swapaxes(0, 1)).swapaxes(0, 1)
        return found

    # ------------------------------------------------------------ told by the chain, by strategies, and by what guesses ahead

    def processed(self, name: str, scores: np.ndarray) -> None:
        """What a processor made of the scores, [rows, vocabulary]."""
        self.seen.stages.append((name, scores.copy()))

    def drew(self, uniform: np.ndarray) -> None:
        """The random numbers of a step, float64 [rows]."""
        self.seen.drawn = uniform

    def considered(self, requests: Sequence[Request], sums: np.ndarray, parents: np.ndarray, tokens: np.ndarray,
                   log_probs: np.ndarray, scores: np.ndarray, ended: np.ndarray | None = None, *, seen: Seen | None = None,
                   measures: Mapping[str, np.ndarray] | None = None) -> None:
        """Continuations of Q requests of W rows each, as the fields of `Step` and `Continuations` say: sums [Q, W], the
        others [Q, C]. A score of -inf is no continuation. ended: bool, None where all that the outcome does not go on with
        have ended. seen: what an earlier step saw, where the choice was put off."""
        self._considered = _Considered(list(requests), seen or self.seen, sums.copy(), parents, tokens, log_probs, scores,
                                       ended, measures or {})

    def reads_on(self) -> None:
        """What the loop takes for a decision next is none: its tokens are read first, and chosen among after that. A choice
        that was made besides is told by `decided` before."""
        self._reads_on = True

    def guessed(self, request: Request, guesses: Sequence[Guess]) -> None:
        """What is read ahead along with the last token, from the next step on."""
        one = self._recorded[request.index]
        one.rounds.append((len(one.steps), list(guesses)))


def _describe(stages: Sequence[tuple[str, np.ndarray]], candidates: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a Step for all rows, from scores [rows, vocabulary] after each stage."""
    shown, log_sums, removed, masses = [], [], [], []
    before, total, alive = np.empty(0), np.empty(0), np.empty(0, bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for stage, (_, scores) in enumerate(stages):
            highest = scores.max(axis=1)
            exps = np.exp(scores - np.where(np.isfinite(highest), highest, 0)[:, None])
            stays = scores != -np.inf
            gone = alive & ~stays if stage else np.zeros(scores.shape, bool)
            removed.append(np.count_nonzero(gone, axis=1))
            masses.append(np.where(gone, before, 0).sum(axis=1) / total if stage else np.zeros(len(scores)))
            before, total, alive = exps, exps.sum(axis=1, dtype=np.float64), stays
            log_sums.append(np.where(np.isfinite(highest), highest, 0) + np.log(total))
            shown.append(np.where(candidates < 0, np.float32(-np.inf), np.take_along_axis(scores, candidates, 1)))
    return {"candidates": candidates, "scores": np.stack(shown).astype(np.float32), "log_sums": np.stack(log_sums),
            "removed": np.stack(removed), "removed_mass": np.stack(masses)}


def _continuations(told: _Considered, place: int, kept: dict[tuple[int, int], int]) -> Continuations:
    """Those of one request. kept: (parent, token) -> row of the next step."""
    real = np.flatnonzero(np.isfinite(told.scores[place]))
    parents, tokens, log_probs = (part[place, real] for part in (told.parents, told.tokens, told.log_probs))
    places = np.array([kept.get(pair, -1) for pair in zip(parents.tolist(), tokens.tolist(), strict=True)], np.int64)
    ended = np.ones(len(real), bool) if told.ended is None else told.ended[place, real]
    fates = tuple(KEPT if row >= 0 else FINISHED if end else PRUNED for row, end in zip(places, ended, strict=True))
    return Continuations(parents.astype(np.int64), tokens.astype(np.int64), log_probs.astype(np.float32),
                         told.sums[place][parents] + log_probs, told.scores[place, real].astype(np.float32), places, fates,
                         {name: part[place, real].astype(np.float32) for name, part in told.measures.items()})
