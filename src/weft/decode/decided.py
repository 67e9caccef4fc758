"""Steps that were decided, put together for a trace: many at once, when decoding is over, so that watching costs little.

Legend: T steps of one kind, Q requests of W rows each, C continuations of a request, N rows of the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weft.decode.rows import Request
from weft.decode.summary import Summary
from weft.spec.decoding_trace import FINISHED, KEPT, PRUNED, Continuations, Step

if TYPE_CHECKING:
    from weft.decode.strategies.strategy import Outcome

FATES = np.array((KEPT, FINISHED, PRUNED), object)


class Considered(NamedTuple):
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


class Decided(NamedTuple):
    """A step. numbers: of this step in each request, [Q]. drawn: float64 [Q * W], or None."""

    told: Considered
    outcome: Outcome
    numbers: Sequence[int]
    stages: tuple[str, ...]
    summary: Summary
    drawn: np.ndarray | None
    points: Mapping[str, np.ndarray]

    @property
    def kind(self) -> tuple[object, ...]:
        """Steps of one kind have arrays of the same shapes, of the same requests."""
        told = self.told
        return [id(one) for one in told.requests], told.sums.shape, told.scores.shape, len(self.outcome.parents)


def put_together(decided: Sequence[Decided], heads: Sequence[int] | None) -> Iterator[tuple[Request, Step]]:
    """Every request's steps, in the order in which they were decided. heads: those whose attention is kept; None for all."""
    for _, alike in groupby(decided, lambda one: one.kind):
        steps = list(alike)
        continuations = _continuations(steps)
        for one in steps:
            for place, request in enumerate(one.told.requests):
                yield request, _step(one, place, next(continuations), heads)


def _continuations(steps: Sequence[Decided]) -> Iterator[Continuations]:
    """Of T steps of one kind, each request of each step."""
    sums, parents, tokens, log_probs, scores = (np.stack([getattr(one.told, name) for one in steps]) for name in (
        "sums", "parents", "tokens", "log_probs", "scores"))
    measures = [np.stack([one.told.measures[name] for one in steps], dtype=np.float32) for name in steps[0].told.measures]
    real, places = np.isfinite(scores), _places(steps, parents, tokens)
    ended = np.stack([real[0] if one.told.ended is None else one.told.ended for one in steps])
    fates = FATES[np.where(places >= 0, 0, np.where(ended, 1, 2))]
    sums = np.take_along_axis(sums, np.where(real, parents, 0), 2) + log_probs
    arrays = (parents.astype(np.int64), tokens.astype(np.int64), log_probs.astype(np.float32), sums, scores.astype(np.float32),
              places, fates, *measures)
    whole = real.all(2).ravel().tolist()
    each = zip(*(array.reshape(len(whole), -1) for array in arrays), strict=True)
    for own, is_whole, chosen in zip(each, whole, real.reshape(len(whole), -1), strict=True):
        *numbers, names = own[:7] if is_whole else [part[chosen] for part in own[:7]]
        yield Continuations(*numbers, tuple(names.tolist()),
                            {name: part[chosen] for name, part in zip(steps[0].told.measures, own[7:], strict=True)})


def _places(steps: Sequence[Decided], parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """int64 [T, Q, C]: the row of the next step, among those of its request, that continuations [T, Q, C] become; -1 for none."""
    outcomes = [one.outcome for one in steps]
    rows, ids = (np.stack([getattr(one, part) for one in outcomes]) for part in ("parents", "tokens"))
    width, order = steps[0].told.width, np.arange(rows.shape[1])
    alive = np.stack([order >= 0 if one.alive is None else one.alive for one in outcomes])
    owners = rows // width
    goes_on = np.diff(owners, axis=1, prepend=-1) == 0
    places = order - np.maximum.accumulate(np.where(goes_on, 0, order), 1)
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
    """A step's inspection points of one request. A prompt is padded on the left, a source on the right."""
    found, last, first = {}, slice(-history, None), slice(source)
    for name, array in points.items():
        if not name.endswith("weights"):
            found[name] = array[rows, 0]
            continue
        weights = array[rows, :, 0, last if name.endswith("self_attention.weights") else first]
        found[name] = weights if heads is None else weights[:, [head for head in heads if head < weights.shape[1]]]
    return found
