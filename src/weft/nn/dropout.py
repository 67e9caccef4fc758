"""Dropout (Srivastava et al. 2014) whose random bits cost little on a CPU.

torch draws a double per element through bernoulli_; here one 64-bit draw of the same generator serves four
elements, so the drop probability is a multiple of 1/65536 and the scale is exact for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 1 << 16


def dropout_mask(shape: torch.Size, probability: float, like: Tensor) -> Tensor:
    """0 with `probability`, else 1 / (1 - probability), in the dtype of `like`."""
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=like.device).random_(-(1 << 63), None)
    dropped = round(probability * _LEVELS)
    bits = words.view(torch.int16)[:count]
    mask = torch.empty(count, dtype=like.dtype, device=like.device)
    torch.ge(bits, dropped - (_LEVELS >> 1), out=mask)
    return mask.mul_(_LEVELS / (_LEVELS - dropped)).view(shape)


class Dropout(torch.nn.Module):
    """Zeroes elements with `probability` while training and scales the rest, so that the mean stays."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0.0:
            return x
        return x * dropout_mask(x.shape, self.probability, x)
