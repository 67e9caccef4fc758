"""Dropout (Srivastava et al. 2014) whose random bits cost little on a CPU.

torch draws a double per element through bernoulli_, one after another. Here each element takes 8 bits of a faster
generator (SFC64): the drop probability is a multiple of 1/256, and the scale is exact for it. Below 1/16 it takes 16
bits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_local = threading.local()


@contextlib.contextmanager
def dropout_bits(seed: int) -> Iterator[None]:
    """Within it, masks made in this thread depend on `seed` only. Without it, torch's generator seeds each mask."""
    _local.source = np.random.Generator(np.random.SFC64(seed))
    try:
        yield
    finally:
        _local.source = None


def _source() -> np.random.Generator:
    return getattr(_local, "source", None) or np.random.Generator(np.random.SFC64(int(torch.randint(1 << 62, ()))))


def dropout_mask(shape: torch.Size, probability: float, like: Tensor) -> tuple[Tensor, float]:
    """0 with `probability`, else 1, in the dtype of `like`; and the scale that keeps the mean, 1 / (1 - probability)."""
    count, dtype = shape.numel(), torch.int8 if probability >= 1 / 16 else torch.int16
    levels = 1 << 8 * dtype.itemsize
    dropped = round(probability * levels)
    words = _source().integers(1 << 64, size=-(-count * dtype.itemsize // 8), dtype=np.uint64)
    bits = torch.from_numpy(words.view(np.int64)).view(dtype)[:count]
    mask = torch.empty(count, dtype=like.dtype, device=like.device)
    torch.ge(bits, dropped - levels // 2, out=mask)
    return mask.view(shape), levels / (levels - dropped)


class Dropout(torch.nn.Module):
    """Zeroes elements with `probability` while training and scales the rest, so that the mean stays."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """dropout(x), added to `residual` if one is given."""
        if not self.training or self.probability == 0.0:
            return x if residual is None else residual + x
        mask, scale = dropout_mask(x.shape, self.probability, x)
        return x * mask.mul_(scale) if residual is None else torch.addcmul(residual, x, mask, value=scale)

    def unscaled(self, x: Tensor) -> tuple[Tensor, float]:
        """dropout(x) / scale, and scale: for large x whose scale can be put into a smaller factor."""
        if not self.training or self.probability == 0.0:
            return x, 1.0
        mask, scale = dropout_mask(x.shape, self.probability, x)
        return x * mask, scale
