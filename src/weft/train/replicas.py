"""Small batches side by side: a thread and a replica of the module each.

One product after another on all cores leaves some waiting at the end of each; whole small batches on fewer cores
each do not (measured: docs/LOG.md, 2026-11-21). Replicas share the weights; each has its own gradients, and bits for
dropout that depend on its batch only, so that a run gives the same numbers however its threads take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from weft.nn.dropout import dropout_bits
from weft.nn.model import Model
from weft.train.batch import Batch
from weft.train.flat import FlatParameters
from weft.train.losses import head_cross_entropy


class Replicas:
    """`model`, whose parameters are `flat`'s, and `count - 1` more of it. threads: of all together."""

    def __init__(self, model: Model, flat: FlatParameters, threads: int, count: int) -> None:
        self.flat, self.threads, self.threads_each = flat, threads, max(1, threads // count)
        self.models: list[Model] = [model, *(flat.replicate(model) for _ in range(count - 1))]
        self._pool = ThreadPoolExecutor(max(1, count - 1), "weft-replica", torch.set_num_threads, (self.threads_each,))

    def backward(self, batches: Sequence[Batch], smoothing: float) -> float:
        """Add the gradients of all `batches` to the flat one; returns their summed loss."""
        seeds = torch.randint(1 << 62, (len(batches),)).tolist()
        total, count = 0.0, len(self.models)
        torch.set_num_threads(self.threads_each)
        try:
            for start in range(0, len(batches), count):
                work = list(zip(self.models, batches[start : start + count], seeds[start : start + count], strict=False))
                others = [self._pool.submit(_backward, *item, smoothing) for item in work[1:]]
                total += _backward(*work[0], smoothing)
                total += sum(other.result() for other in others)
                self.flat.collect()
        finally:
            torch.set_num_threads(self.threads)
        return total


def _backward(model: Model, batch: Batch, seed: int, smoothing: float) -> float:
    head = model.head.weight, model.head.bias
    with dropout_bits(seed):
        hidden = model.head.prepare(model.features(*batch.for_model))
    loss = head_cross_entropy(hidden, *head, batch.targets, smoothing)
    loss.backward()
    return float(loss.detach())


def replica_count(model: Model, threads: int) -> int:
    """Two where there are threads for it; more gain nothing. A recurrent model steps in Python, one thread at a time."""
    return 2 if threads >= 2 and not model.is_recurrent else 1
