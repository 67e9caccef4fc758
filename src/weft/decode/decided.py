"""Steps that were decided, put together for a trace: many at once, when decoding is over, so that watching costs little.

Legend: Q requests of a step, of W rows each, C continuations of a request; P, of all steps of a kind, their requests.
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
        """What steps have in common whose arrays can be put together."""
        told = self.told
        return told.sums.shape[1], told.scores.shape[1], *self.points


def put_together(decided: Sequence[Decided], heads: Sequence[int] | None) -> Iterator[tuple[Request, Step]]:
    """Every request's steps, in the order in which they were decided. heads: those whose attention is kept; None for all."""
    for _, alike in groupby(decided, lambda one: one.kind):
        steps = list(alike)
        width = steps[0].told.width
        parts = zip(_joined(steps, "sums"), _drawn(steps), _continuations(steps), _points(steps, heads), strict=True)
        for one in steps:
            numbers = one.summary
            for place, request in enumerate(one.told.requests):
                rows, (sums, drawn, continuations, points) = slice(place * width, (place + 1) * width), next(parts)
                log_sums, removed, masses = numbers.totals[:, :, rows]
                yield request, Step(sums, one.stages, numbers.candidates[rows], numbers.scores[:, rows], log_sums,
                                    removed.astype(np.int64), masses, drawn, continuations, points)


def _all_true(shape: int | tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, bool)


def _joined(steps: Sequence[Decided], name: str) -> np.ndarray:
    """[P, ...]."""
    return np.concatenate([getattr(one.told, name) for one in steps])


def _drawn(steps: Sequence[Decided]) -> np.ndarray:
    """float64 [P, W]."""
    drawn = [np.full(one.told.sums.size, np.nan) if one.drawn is None else one.drawn for one in steps]
    return np.concatenate(drawn).reshape(-1, steps[0].told.width)


def _continuations(steps: Sequence[Decided]) -> Iterator[Continuations]:
    sums, parents, tokens, log_probs, scores = (_joined(steps, name) for name in (
        "sums", "parents", "tokens", "log_probs", "scores"))
    names = list(steps[0].told.measures)
    measures = [np.concatenate([one.told.measures[name] for one in steps], dtype=np.float32) for name in names]
    real, places = np.isfinite(scores), _places(steps, parents, tokens)
    ended = np.concatenate([_all_true(one.told.scores.shape) if one.told.ended is None else one.told.ended for one in steps])
    fates = FATES[np.where(places >= 0, 0, np.where(ended, 1, 2))]
    sums = np.take_along_axis(sums, np.where(real, parents, 0), 1) + log_probs
    arrays = (fates, parents.astype(np.int64, copy=False), tokens.astype(np.int64, copy=False),
              log_probs.astype(np.float32, copy=False), sums, scores.astype(np.float32, copy=False), places, *measures)
    for own, chosen, all_of_it in zip(zip(*arrays, strict=True), real, real.all(1).tolist(), strict=True):
        fate, parent, token, log_prob, total, score, place, *others = own if all_of_it else [part[chosen] for part in own]
        yield Continuations(parent, token, log_prob, total, score, place, tuple(fate.tolist()),
                            dict(zip(names, others, strict=True)))


def _places(steps: Sequence[Decided], parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """int64 [P, C]: the row of the next step, among those of its request, that each continuation becomes; -1 for none."""
    outcomes = [one.outcome for one in steps]
    rows, ids = (np.concatenate([getattr(one, part) for one in outcomes]) for part in ("parents", "tokens"))
    alive = np.concatenate([_all_true(len(one.parents)) if one.alive is None else one.alive for one in outcomes])
    width, order = steps[0].told.width, np.arange(len(rows))
    before = np.cumsum([0] + [len(one.told.requests) for one in steps[:-1]])
    owners = np.repeat(before, [len(one.parents) for one in outcomes]) + rows // width
    first = np.diff(owners, prepend=-1) != 0
    places = order - np.maximum.accumulate(np.where(first, order, 0))
    following = np.full((2, len(parents), 1, 1 + places.max(initial=0)), -1)
    following[:, owners, 0, places] = np.where(alive, (rows % width, ids), -1)
    same = (parents[..., None] == following[0]) & (tokens[..., None] == following[1])
    return np.where(same.any(2), same.argmax(2), -1)


def _points(steps: Sequence[Decided], heads: Sequence[int] | None) -> Iterator[dict[str, np.ndarray]]:
    """Inspection points of one request each. A prompt is padded on the left, a source on the right."""
    names, width = list(steps[0].points), steps[0].told.width
    places = [(one.points, slice(place * width, (place + 1) * width), slice(-len(request.prompt) - number, None),
               slice(len(request.source)))
              for one in steps for place, (request, number) in enumerate(zip(one.told.requests, one.numbers, strict=True))]
    found = []
    for name in names:
        if not name.endswith("weights"):
            found.append([points[name][rows, 0] for points, rows, _, _ in places])
            continue
        if name.endswith("self_attention.weights"):
            weights = [points[name][rows, :, 0, history] for points, rows, history, _ in places]
        else:
            weights = [points[name][rows, :, 0, source] for points, rows, _, source in places]
        if heads is not None:
            weights = [array[:, [head for head in heads if head < array.shape[1]]] for array in weights]
        found.append(weights)
    return (dict(zip(names, own, strict=True)) for own in zip(*found, strict=True)) if names else ({} for _ in places)
