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
    steps = dimension // 2 - 1 if config.inclusive else dimension / 2
    frequency = config.base ** (-torch.arange(dimension // 2, dtype=torch.float64) / steps)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency  # [length, dimension / 2]
    pair = (angle.sin(), angle.cos())
    table = torch.cat(pair, 1) if config.layout == "halves" else torch.stack(pair, 2).flatten(1)
    return torch.nn.functional.pad(table, (0, width - dimension)).float()


def rotary_angles(config: c.Rotary, head_size: int, positions: Tensor, lengths: Tensor | None = None
                  ) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 [T, R / 2] for positions [T], [B, T, R / 2] for [B, T] (Su et al. 2021, equation 15).

    lengths: [B] of the texts, for scaling that goes by them; by default the last position tells.
    """
    dimension = config.dimension or head_size
    if config.by_length:
        lengths = positions.amax(-1).view(-1, 1) + 1 if lengths is None else lengths[:, None]
        frequency = _frequencies_by_length(config, dimension, lengths)
        positions = positions.expand(len(frequency), -1) if frequency.shape[0] > 1 else positions
        angle = positions.float()[..., None] * (frequency[:, None] if positions.dim() == 2 else frequency)
    else:
        angle = positions.float()[..., None] * rotary_frequencies(config, dimension).to(positions.device)
    factor = config.scaling.attention_factor if isinstance(config.scaling, (c.YarnScaling, c.LongRopeScaling)) else 1.0
    return angle.cos() * factor, angle.sin() * factor


def rotary_frequencies(config: c.Rotary, dimension: int) -> Tensor:
    """float32 [dimension / 2]: radians a position of each pair of channels, scaled.

    Rounded as in transformers: at position 10,000 a last bit of a frequency is a thousandth of a radian.
    """
    powers, scaling = _powers(config.base, dimension), config.scaling
    frequency = 1.0 / powers
    if isinstance(scaling, c.LinearScaling):
        return frequency / scaling.factor
    if isinstance(scaling, c.Llama3Scaling):
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        turns = scaling.original / (2 * math.pi / frequency)  # in the original window
        kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
        return (1 - kept) * frequency / scaling.factor + kept * frequency
    if isinstance(scaling, c.YarnScaling):
        kept = 1 - _yarn_ramp(config.base, dimension, scaling)
        return 1.0 / (scaling.factor * powers) * (1 - kept) + frequency * kept
    return frequency


def _powers(base: float | Tensor, dimension: int) -> Tensor:
    """float32 [..., dimension / 2]: what a pair of channels turns as slowly by; base: one, or [..., 1] of texts."""
    return base ** (torch.arange(0, dimension, 2, dtype=torch.float32) / dimension)


def _yarn_ramp(base: float, dimension: int, scaling: c.YarnScaling) -> Tensor:
    """0 for channels that turn beta_fast times or more in the original window, 1 below beta_slow, a line between."""
    def channel(turns: float) -> float:
        return dimension * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dimension - 1)
    high = high + 0.001 if low == high else high
    return ((torch.arange(dimension // 2, dtype=torch.float32) - low) / (high - low)).clamp(0.0, 1.0)


def _frequencies_by_length(config: c.Rotary, dimension: int, lengths: Tensor) -> Tensor:
    """float32 [B, dimension / 2] for lengths [B, 1] of the texts."""
    scaling = config.scaling
    if isinstance(scaling, c.LongRopeScaling):
        factors = torch.where(lengths > scaling.original, torch.tensor(scaling.long), torch.tensor(scaling.short))
        return 1.0 / (factors * _powers(config.base, dimension))
    assert isinstance(scaling, c.DynamicScaling)
    ratio = scaling.factor * lengths.clamp(min=scaling.original) / scaling.original - (scaling.factor - 1)
    return 1.0 / _powers(config.base * ratio ** (dimension / (dimension - 2)), dimension)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + R/2) of the first R channels of x [B, H, T, E] by angles [T, R/2] or [B, 1, T, R/2]."""
    turned, rest = x.split([2 * cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], -1)
    first, second = turned.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


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
