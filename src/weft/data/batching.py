"""Batches of about equal token count, of examples of about equal length.

Each epoch sees every example once, in an order and in batches that depend on (seed, epoch) only. Sorting by the
target's length and then the source's leaves the least padding; ties are broken by a fresh shuffle, so companions
change from epoch to epoch, and the batches themselves are shuffled.
"""

from __future__ import annotations

import numpy as np


def batches(lengths: np.ndarray, budget: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of lengths int64 [N, 2] (source, target) as batches.

    A batch of n rows keeps n * (its longest source or target) within `budget`; an example longer than that is a
    batch of its own.
    """
    generator = np.random.default_rng((seed, epoch))
    shuffled = generator.permutation(len(lengths))
    source, target = lengths[shuffled].T if len(lengths) else (shuffled, shuffled)
    order = shuffled[np.lexsort((_snake(source, target, generator), target))]
    cuts = _cuts(lengths[order].max(axis=1) if len(lengths) else shuffled, budget)
    groups = np.split(order, cuts[1:-1]) if len(order) else []
    return [groups[i] for i in generator.permutation(len(groups))]


def _snake(source: np.ndarray, target: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Source lengths as a sort key: rising at even target lengths and falling at odd ones, so that no batch joins
    long sources to short ones; moved a little, so that batches do not always hold the same rows."""
    return (source + generator.uniform(-1.0, 1.0, len(source))) * np.where(target % 2, -1.0, 1.0)


def _cuts(longest: np.ndarray, budget: int) -> list[int]:
    """Where to cut a sequence of row lengths so that rows * longest stays within budget, greedily; 0 and N included."""
    cuts, widest = [0], 0
    for index, length in enumerate(longest.tolist()):
        widest = max(widest, length)
        if index > cuts[-1] and widest * (index - cuts[-1] + 1) > budget:
            cuts.append(index)
            widest = length
    return [*cuts, len(longest)]
