"""Softmax over the short rows of attention.

torch's CPU kernels take rows element by element where they do not fill its vectors, 16 numbers in float32 and 32 in
bfloat16. At sentence lengths that costs up to ten times as much (docs/LOG.md, 2026-11-21), so rows are widened here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_VECTOR = 16
_PLAIN = 32
"""Rows that are a multiple of this are whole vectors in both."""


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        weights = _softmax(scores)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        if weights.shape[-1] % _PLAIN == 0:
            return torch._softmax_backward_data(gradients[0], weights, -1, weights.dtype)
        wide = torch._softmax_backward_data(_wide(gradients[0], 0.0), _wide(weights, 0.0), -1, torch.float32)
        return wide[..., : weights.shape[-1]].to(weights.dtype)


def _softmax(scores: Tensor) -> Tensor:
    size = scores.shape[-1]
    if size % _PLAIN == 0:
        return torch.softmax(scores, -1)
    return torch.softmax(_wide(scores, -torch.inf), -1)[..., :size].to(scores.dtype)


def _wide(x: Tensor, fill: float) -> Tensor:
    """float32, the last dimension filled up to a vector."""
    size = x.shape[-1]
    if size >= _VECTOR:
        return x.float()
    wide = x.new_full((*x.shape[:-1], _VECTOR), fill, dtype=torch.float32)
    wide[..., :size] = x
    return wide


def softmax(scores: Tensor) -> Tensor:
    """scores [..., S] -> weights [..., S] of the same dtype; rows of -inf alone are not allowed."""
    return _Softmax.apply(scores) if torch.is_grad_enabled() else _softmax(scores)
