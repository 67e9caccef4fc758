"""Rotations of queries and keys, and buckets of distances, over the numbers of weft.spec.positions.

All functions take positions as integers, so that a cached step and a whole sequence share them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weft.spec import config as c
from weft.spec import positions


def rotary_angles(config: c.Rotary, head_size: int, at: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 [T, R / 2] for positions `at` [T], [B, T, R / 2] for [B, T] (Su et al. 2021, equation 15).

    lengths: [B] of the texts, for scaling that goes by them; by default the last position tells.
    """
    dimension = config.dimension or head_size
    if config.by_length:
        lengths = at.amax(-1).view(-1, 1) + 1 if lengths is None else lengths[:, None]
        frequency = _frequencies_by_length(config, dimension, lengths)
        at = at.expand(len(frequency), -1) if frequency.shape[0] > 1 else at
        angle = at.float()[..., None] * (frequency[:, None] if at.dim() == 2 else frequency)
    else:
        angle = at.float()[..., None] * positions.rotary_frequencies(config, _powers(config.base, dimension)).to(at.device)
    factor = positions.attention_factor(config)
    return angle.cos() * factor, angle.sin() * factor


def _powers(base: float | Tensor, dimension: int) -> Tensor:
    """float32 [..., dimension / 2]: what a pair of channels turns as slowly by; base: one, or [..., 1] of texts."""
    return base ** (torch.arange(0, dimension, 2, dtype=torch.float32) / dimension)


def _frequencies_by_length(config: c.Rotary, dimension: int, lengths: Tensor) -> Tensor:
    """float32 [B, dimension / 2] for lengths [B, 1] of the texts."""
    scaling = config.scaling
    if isinstance(scaling, c.LongRopeScaling):
        powers = _powers(config.base, dimension)
        short, long = (positions.rotary_frequencies(config, powers, long) for long in (False, True))
        return torch.where(lengths > scaling.original, long, short)
    assert isinstance(scaling, c.DynamicScaling)
    ratio = scaling.factor * lengths.clamp(min=scaling.original) / scaling.original - (scaling.factor - 1)
    return 1.0 / _powers(config.base * ratio ** (dimension / (dimension - 2)), dimension)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + R/2) of the first R channels of x [B, H, T, E] by angles [T, R/2] or [B, 1, T, R/2]."""
    turned, rest = x.split([2 * cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], -1)
    first, second = turned.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def relative_bucket(distance: Tensor, config: c.RelativeBias, causal: bool) -> Tensor:
    """Bucket of key position minus query position, any shape."""
    buckets = torch.from_numpy(positions.relative_buckets(config, causal)).to(distance.device)
    reach = len(buckets) // 2
    return buckets[distance.clamp(-reach, reach) + reach]
