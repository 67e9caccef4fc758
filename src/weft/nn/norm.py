"""Norms over the last dimension."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from weft.spec import config as c


class LayerNorm(nn.Module):
    """Ba et al. 2016: (x - mean) / sqrt(variance + epsilon) * weight + bias."""

    def __init__(self, config: c.LayerNorm, size: int) -> None:
        super().__init__()
        self.epsilon = config.epsilon
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if config.bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Zhang and Sennrich 2019: x / sqrt(mean(x^2) + epsilon) * (offset + weight)."""

    def __init__(self, config: c.RMSNorm, size: int) -> None:
        super().__init__()
        self.epsilon, self.offset = config.epsilon, config.offset
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + self.offset if self.offset else self.weight
        return functional.rms_norm(x, weight.shape, weight, self.epsilon)


def build_norm(config: c.Norm, size: int) -> nn.Module:
    return LayerNorm(config, size) if isinstance(config, c.LayerNorm) else RMSNorm(config, size)
