"""The position-wise feed-forward part."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from weft.nn.dropout import Dropout
from weft.nn.gelu import gelu_tanh
from weft.nn.linear import Linear
from weft.spec import config as c

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "none": nn.Identity(),
}


class FeedForward(nn.Module):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) when gated (Shazeer 2020)."""

    def __init__(self, width: int, config: c.FeedForward) -> None:
        super().__init__()
        relu = config.activation == "relu" and not config.gated
        self.activation = nn.Identity() if relu else ACTIVATIONS[config.activation]
        self.up = Linear(width, config.size, config.bias, relu=relu)
        self.gate = Linear(width, config.size, config.bias) if config.gated else None
        self.down = Linear(config.size, width, config.bias)
        self.dropout = Dropout()

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        inner = self.activation(up) if self.gate is None else self.activation(self.gate(x)) * up
        return self.down(self.dropout(inner))
