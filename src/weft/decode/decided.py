"""Steps that were decided, put together for a trace: many at once, when decoding is over, so that watching costs little.

Legend: T steps of one kind, Q requests of W rows each, C continuations of a request, N rows of the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from weft.decode.rows import Request
from weft.decode.summary import Summary
from weft.spec.decoding_trace import FINISHED, KEPT, PRUNED, Continuations, Step

FATES = np.array((KEPT, FINISHED, PRUNED), object)


@dataclass(frozen=True)
class Considered:
    """What a strategy chose among: sums [Q, W], the others [Q, C]. A score of -inf is no continuation. ended: bool, None where
    all that is not kept has."""

    requests: Sequence[Request]
    sums: np.ndarray
    parents: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    scores: np.ndarray
    ended: np.ndarray | None
    measures: Mapping[str, np.ndarray]

    @property
    def width(self) -> int:
        return self.sums.shape[1]

    def chosen(self) -> tuple[np.ndarray, np.ndarray]:
        """Every continuation: its row among those of all requests, and its token."""
        places, columns = np.isfinite(self.scores).nonzero()
        return places * self.width + self.parents[places, columns], self.tokens[places, columns]


@dataclass(frozen=True)
class Decided:
    """A step. numbers: of this step in each request, [Q]. following: of the rows of the next step, [N] each, the row that they
    continue, their token, and whether they hold a hypothesis. drawn: float64 [Q * W], or None."""

    told: Considered
    numbers: Sequence[int]
    following: tuple[np.ndarray, np.ndarray, np.ndarray]
    stages: tuple[str, ...]
    summary: Summary
    drawn: np.ndarray | None
    points: Mapping[str, np.ndarray]

    @property
    def kind(self) -> tuple[object, ...]:
        """Steps of one kind have arrays of the same shapes, of the same requests."""
        told = self.told
        return [id(one) for one in told.requests], told.sums.shape, told.scores.shape, len(self.following[0])


def put_together(decided: Sequence[Decided], heads: Sequence[int] | None) -> Iterator[tuple[Request, Step]]:
    """Every request's steps, in the order in which they were decided. heads: those whose attention is kept; None for all."""
    for _, alike in groupby(decided, lambda one: one.kind):
        steps = list(alike)
        for one, continuations in zip(steps, _continuations(steps), strict=True):
            for place, request in enumerate(one.told.requests):
                yield request, _step(one, place, continuations[place], heads)


def _continuations(steps: Sequence[Decided]) -> Iterator[list[Continuations]]:
    """Of T steps of one kind: those of each request."""
    sums, parents, tokens, log_probs, scores = (np.stack([getattr(one.told, name) for one in steps]) for name in (
        "sums", "parents", "tokens", "log_probs", "scores"))
    measures = {name: np.stack([one.told.measures[name] for one in steps], dtype=np.float32) for name in steps[0].told.measures}
    real = np.isfinite(scores)
    places = _places(steps, parents, tokens)
    ended = np.stack([real[0] if one.told.ended is None else one.told.ended for one in steps])
    fates = FATES[np.where(places >= 0, 0, np.where(ended, 1, 2))]
    arrays = (parents.astype(np.int64), tokens.astype(np.int64), log_probs.astype(np.float32),
              np.take_along_axis(sums, np.where(real, parents, 0), 2) + log_probs, scores.astype(np.float32), places)
    for step, whole in enumerate(real.all(2).tolist()):
        chosen = [(step, place) if all_of_it else (step, place, real[step, place]) for place, all_of_it in enumerate(whole)]
        yield [Continuations(*[array[own] for array in arrays], tuple(fates[own].tolist()),
                             {name: array[own] for name, array in measures.items()}) for own in chosen]


def _places(steps: Sequence[Decided], parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """int64 [T, Q, C]: the row of the next step, among those of its request, that continuations [T, Q, C] become; -1 for none."""
    rows, ids, alive = (np.stack(part) for part in zip(*(one.following for one in steps), strict=True))
    width, size = steps[0].told.width, rows.shape[1]
    owners, order = rows // width, np.arange(size)
    begins = np.concatenate((np.ones((len(steps), 1), bool), owners[:, 1:] != owners[:, :-1]), 1)[:, :size]
    places = order - np.maximum.accumulate(np.where(begins, order, 0), 1)
    following = np.full((2, *parents.shape[:2], 1 + places.max(initial=0)), -1)
    following[:, np.arange(len(steps))[:, None], owners, places] = np.where(alive, (rows % width, ids), -1)
    same = (parents[..., None] == following[0][:, :, None]) & (tokens[..., None] == following[1][:, :, None])
    return np.where(same.any(3), same.argmax(3), -1)


def _step(one: Decided, place: int, continuations: Continuations, heads: Sequence[int] | None) -> Step:
    """Of the request at a place."""
    told, numbers, width = one.told, one.summary, one.told.width
    rows, request = slice(place * width, (place + 1) * width), told.requests[place]
    drawn = np.full(width, np.nan) if one.drawn is None else one.drawn[rows]
    return Step(told.sums[place], one.stages, numbers.candidates[rows], numbers.scores[:, rows], numbers.log_sums[:, rows],
                numbers.removed[:, rows], numbers.removed_mass[:, rows], drawn, continuations,
                _points(one.points, rows, len(request.source), len(request.prompt) + one.numbers[place], heads))


def _points(points: Mapping[str, np.ndarray], rows: slice, source: int, history: int, heads: Sequence[int] | None
            ) -> dict[str, np.ndarray]:
    """A step's inspection points of one request."""
    found = {}
    for name, array in points.items():
        if not name.endswith("weights"):
            found[name] = array[rows, 0]
            continue
        # A prompt is padded on the left, a source on the right.
        seen = slice(array.shape[3] - history, None) if name.endswith("self_attention.weights") else slice(source)
        weights = array[rows, :, 0, seen]
        found[name] = weights if heads is None else weights[:, [head for head in heads if head < weights.shape[1]]]
    return found
