"""Positions: vectors added to embeddings, rotations of queries and keys, biases on attention scores.

All functions take positions as integers, so that a cached step and a whole sequence share them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weft.spec import config as c


def sinusoidal(config: c.Sinusoidal, width: int, length: int) -> Tensor:
    """float32 [length, width]: Vaswani et al. 2017, section 3.5. Channels past `dimension` are zero."""
    dimension = config.dimension or width
    frequency = config.base ** (-torch.arange(0, dimension, 2, dtype=torch.float64) / dimension)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency  # [length, dimension / 2]
    pair = (angle.sin(), angle.cos())
    table = torch.cat(pair, 1) if config.layout == "halves" else torch.stack(pair, 2).flatten(1)
    return torch.nn.functional.pad(table, (0, width - dimension)).float()


def rotary_angles(base: float, head_size: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 [*positions, E / 2] (Su et al. 2021, equation 15)."""
    frequency = base ** (-torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size)
    angle = positions.float()[..., None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + E/2) of x [B, H, T, E] by angles [T, E/2] or [B, 1, T, E/2]."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def alibi_slopes(heads: int) -> Tensor:
    """float32 [H]: powers of 2 ** (-8 / n) for the power of two n, the rest interleaved (Press et al. 2022)."""
    closest = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / closest) for i in range(closest)]
    slopes += [2.0 ** (-4.0 * (2 * i + 1) / closest) for i in range(heads - closest)]
    return torch.tensor(slopes)


def relative_bucket(distance: Tensor, config: c.RelativeBias, causal: bool) -> Tensor:
    """Bucket of key position minus query position, any shape (Raffel et al. 2020; T5's
    `_relative_position_bucket`): half the buckets exact, half logarithmic up to max_distance."""
    buckets = config.buckets
    offset = torch.zeros_like(distance)
    if not causal:
        buckets //= 2
        offset = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    ratio = torch.log(distance.float().clamp(min=1) / exact) / math.log(config.max_distance / exact)
    far = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
    return offset + torch.where(distance < exact, distance, far)
