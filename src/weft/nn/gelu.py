"""The tanh form of GELU, faster than torch's on a CPU in bfloat16 (docs/LOG.md, 2026-11-21).

x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) is x sigmoid(u) with u = 2 sqrt(2/pi) (x + 0.044715 x^3), and a sigmoid costs
a third of a tanh here. While training, the derivative is made on the way, so that the backward pass is one product.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_LINEAR = 2.0 * math.sqrt(2.0 / math.pi)
_CUBIC = _LINEAR * 0.044715
_CHUNK = 1 << 16
"""Numbers worked on at once in float32, so that they stay in a core's cache."""


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, slope = torch.empty_like(x), torch.empty_like(x)
        for part, out, out_slope in zip(*(tensor.view(-1).split(_CHUNK) for tensor in (x, y, slope)), strict=True):
            wide = part.float()
            square = wide * wide
            gate = (square * _CUBIC).add_(_LINEAR).mul_(wide).sigmoid_()
            steepness = square.mul_(3 * _CUBIC).add_(_LINEAR).mul_(wide)  # x du/dx
            out_slope.copy_(steepness.addcmul_(steepness, gate, value=-1).add_(1).mul_(gate))
            out.copy_(gate.mul_(wide))
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0]


def gelu_tanh(x: Tensor) -> Tensor:
    """Hendrycks and Gimpel 2016, section 2; as torch.nn.functional.gelu(approximate="tanh")."""
    if x.dtype == torch.bfloat16 and x.requires_grad and x.is_contiguous():
        return _Gelu.apply(x)
    return functional.gelu(x, approximate="tanh")
