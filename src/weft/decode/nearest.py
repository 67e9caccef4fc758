"""The tokens whose logits are nearest to a centre and together reach a share of the probability.

The nucleus is what is nearest to the highest logit, the typical set what is nearest to the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from weft.decode.best import keep, listed
from weft.decode.softmax import ONE, Softmax, cumulative

try:
    from weft import _native
except ImportError:  # an installation without the engine
    _native = None  # type: ignore[assignment]

RARE = np.float32(-7.0)
"""Log-probability of tokens that are not looked at first."""
View = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Logits [R, V], log_sums [R, 1] -> some of the logits, [R, C], and a bound that no other is above, [R, 1]."""


def nearest(logits: np.ndarray, softmax: Softmax, centre: np.ndarray, share: float) -> np.ndarray:
    """logits [R, V] of the fewest tokens nearest to the centre [R, 1] whose probabilities reach the share, with all that are
    as near as the last of them; -inf for others."""
    if _native is not None:
        rows = logits.shape[0]
        return _native.nearest(np.ascontiguousarray(logits), softmax.log_sums.reshape(rows), centre.reshape(rows), share)
    return by_views(logits, softmax, centre, share)


def by_views(logits: np.ndarray, softmax: Softmax, centre: np.ndarray, share: float) -> np.ndarray:
    """`nearest` without the engine."""
    farthest = _farthest(logits, softmax.log_sums, centre, share, (_likely, _quarter, _all))
    distances = logits - centre
    return keep(logits, np.abs(distances, out=distances) <= farthest)


def _farthest(logits: np.ndarray, log_sums: np.ndarray, centre: np.ndarray, share: float, views: Sequence[View]) -> np.ndarray:
    """float32 [R, 1]: the distance from the centre within which the share is reached.

    What the first view shows can tell, if no other token is as near; rows of which it does not get the next view.
    """
    shown, bound = views[0](logits, log_sums)
    found = _within(np.abs(shown - centre), np.exp(shown - log_sums), share)
    unsure = np.flatnonzero(found > centre - bound)
    if len(unsure):
        found[unsure] = _farthest(logits[unsure], log_sums[unsure], centre[unsure], share, views[1:])
    return found


def _likely(logits: np.ndarray, log_sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bound = log_sums + RARE
    return listed(logits, logits > bound)[0], bound


def _quarter(logits: np.ndarray, log_sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = -(-logits.shape[1] // 4)
    shown = np.partition(logits, -size, axis=1)[:, -size:]
    return shown, shown[:, :1]


def _all(logits: np.ndarray, log_sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return logits, np.full_like(log_sums, -np.inf)


def _within(distances: np.ndarray, probabilities: np.ndarray, share: float) -> np.ndarray:
    """float32 [R, 1]: the least of distances [R, C] such that the probabilities of all as near reach the share; inf if none is.

    Pairs are sorted as integers, which rise as floats of 0 or more do: a sixth of the time of sorting places.
    """
    pairs = distances.view(np.int32).astype(np.int64) << 32 | probabilities.view(np.int32)
    pairs.sort(axis=1)
    sums = cumulative(pairs.astype(np.int32).view(np.float32))
    reached = sums >= math.ceil(share * ONE)
    found = (pairs[np.arange(len(pairs)), reached.argmax(axis=1)] >> 32).astype(np.int32).view(np.float32)
    return np.where(reached[:, -1], found, np.float32(np.inf))[:, None]
