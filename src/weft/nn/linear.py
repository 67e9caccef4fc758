"""Linear layers: bias and ReLU inside the matrix product, and weights packed once for inference.

Both come from oneDNN, through the operators that torch's own compiler uses; where a build of torch lacks them,
the plain ones serve. Packed weights make the products of a decoding step 20 to 30% faster in bfloat16 and over
twice as fast in float32 on CPUs where torch's other library leaves AVX-512 off (docs/LOG.md, 2026-11-21).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 128
"""Rows of input that packed weights are laid out for; others are computed all the same."""


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    operators = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(operators, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported())


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """x [..., I], weight [O, I] plain or packed -> [..., O], by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")


class PackedLinear:
    """Copies of weight [O, I] and bias [O], laid out for products with few rows; for inference on a CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None, relu: bool = False) -> None:
        self.bias, self.relu = None if bias is None else bias.detach().clone(), relu
        self.packed = weight.device.type == "cpu" and _has_onednn(weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS) if self.packed \
            else weight.detach().clone()

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        if self.packed:
            return _product(x, self.weight, self.bias, self.relu)
        y = functional.linear(x, self.weight, self.bias)
        return functional.relu_(y) if self.relu else y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = _product(rows, weight, bias, relu)
        ctx.save_for_backward(rows, weight, y if relu else None)
        ctx.has_bias = bias is not None
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        leading = gradients[0].shape[:-1]
        g = gradients[0].reshape(-1, weight.shape[0])
        if y is not None:
            g = torch.ops.aten.threshold_backward(g, y, 0)
        return (g @ weight).view(*leading, -1), g.t() @ x, g.sum(0) if ctx.has_bias else None, None


class Linear(nn.Linear):
    """y = x W' + b, then ReLU if asked. `pack` prepares it for inference, which then reads a copy of the weights."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, *, relu: bool = False) -> None:
        super().__init__(inputs, outputs, bias)
        self.relu = relu
        self._packed: PackedLinear | None = None

    def pack(self) -> None:
        self._packed = PackedLinear(self.weight, self.bias, self.relu)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None and not self.training:
            return self._packed(x)
        if self.weight.dtype == torch.bfloat16 and _has_onednn(torch.bfloat16) and torch.is_grad_enabled():
            return _Linear.apply(x, self.weight, self.bias, self.relu)
        y = functional.linear(x, self.weight, self.bias)
        return functional.relu(y) if self.relu else y
