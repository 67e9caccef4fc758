"""Token embeddings with a backward pass that adds up in float32.

torch's own backward adds rows in the dtype of the weights: in bfloat16 the sum of a frequent token stalls after
some hundred additions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.scale, ctx.dtype = weight.shape, scale, weight.dtype
        rows = weight.index_select(0, ids.reshape(-1)).view(*ids.shape, weight.shape[1])
        return rows if scale == 1.0 else rows.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        rows = gradients[0].reshape(-1, ctx.shape[1]).float()
        total = rows.new_zeros(ctx.shape).index_add_(0, ids.reshape(-1), rows, alpha=ctx.scale)
        return total.to(ctx.dtype), None, None


def embed(weight: Tensor, ids: Tensor, scale: float = 1.0) -> Tensor:
    """weight [V, D], ids [...] -> scale * rows, [..., D]."""
    return _Lookup.apply(weight, ids, scale)
