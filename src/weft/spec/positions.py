"""The numbers that positions stand for: what every backend starts from. In NumPy; rotary frequencies in PyTorch too."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from weft.spec import config as c

Array = Any
"""np.ndarray, or a torch.Tensor: what both can do."""


def sinusoidal(config: c.Sinusoidal, width: int, length: int) -> np.ndarray:
    """float32 [length, width]: Vaswani et al. 2017, section 3.5. Channels past `dimension` are zero."""
    dimension = config.dimension or width
    steps = dimension // 2 - 1 if config.inclusive else dimension / 2
    angle = np.arange(length)[:, None] * config.base ** (-np.arange(dimension // 2) / steps)
    pair = (np.sin(angle), np.cos(angle))
    table = np.concatenate(pair, 1) if config.layout == "halves" else np.stack(pair, 2).reshape(length, -1)
    return np.pad(table, ((0, 0), (0, width - dimension))).astype(np.float32)


def rotary_powers(base: float, dimension: int) -> np.ndarray:
    """float32 [dimension / 2]: what each pair of channels turns as slowly by, before scaling. Rounded to nearest, as PyTorch's
    are but for one in seventy."""
    return (np.float64(base) ** (np.arange(0, dimension, 2, dtype=np.float32) / np.float32(dimension))).astype(np.float32)


def rotary_frequencies(config: c.Rotary, powers: Array, long: bool = False) -> Array:
    """[dimension / 2]: radians a position of each pair of channels, scaled, but for what depends on a text's length.

    powers: as `rotary_powers`, NumPy's or PyTorch's: at position 10,000 a last bit of them is a thousandth of a radian.
    long: of texts past the original window (LongRoPE). The order of operations is that of transformers.
    """
    frequency, scaling = 1.0 / powers, config.scaling
    if isinstance(scaling, c.LinearScaling):
        return frequency / scaling.factor
    if isinstance(scaling, c.Llama3Scaling):
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        turns = scaling.original / (2 * math.pi / frequency)  # in the original window
        kept = ((turns - low) / (high - low)).clip(0.0, 1.0)
        return (1 - kept) * frequency / scaling.factor + kept * frequency
    if isinstance(scaling, c.YarnScaling):
        kept = 1 - like(powers, _yarn_ramp(config.base, 2 * len(powers), scaling))
        return 1.0 / (scaling.factor * powers) * (1 - kept) + frequency * kept
    if isinstance(scaling, c.LongRopeScaling):
        return 1.0 / (like(powers, np.array(scaling.long if long else scaling.short, np.float32)) * powers)
    return frequency


def like(powers: Array, array: np.ndarray) -> Array:
    """float32 of the library that `powers` is of."""
    return array if isinstance(powers, np.ndarray) else powers.new_tensor(array)


def attention_factor(config: c.Rotary) -> float:
    """What cos and sin are multiplied by."""
    return config.scaling.attention_factor if isinstance(config.scaling, (c.YarnScaling, c.LongRopeScaling)) else 1.0


def _yarn_ramp(base: float, dimension: int, scaling: c.YarnScaling) -> np.ndarray:
    """0 for channels that turn beta_fast times or more in the original window, 1 below beta_slow, a line between."""
    def channel(turns: float) -> float:
        return dimension * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dimension - 1)
    high = high + 0.001 if low == high else high
    return ((np.arange(dimension // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)).clip(0.0, 1.0)


def alibi_slopes(heads: int) -> np.ndarray:
    """float32 [H]: powers of 2 ** (-8 / n) for the power of two n, the rest interleaved (Press et al. 2022)."""
    closest = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / closest) for i in range(closest)]
    slopes += [2.0 ** (-4.0 * (2 * i + 1) / closest) for i in range(heads - closest)]
    return np.array(slopes, np.float32)


@cache
def relative_buckets(config: c.RelativeBias, causal: bool) -> np.ndarray:
    """int64 [2 R + 1]: bucket of key position minus query position, from -R to R, past which it stays what it is
    (Raffel et al. 2020; T5's `_relative_position_bucket`): half the buckets exact, half logarithmic up to max_distance."""
    reach = max(config.max_distance, config.buckets)
    distance, buckets = np.arange(-reach, reach + 1), config.buckets
    offset = np.zeros_like(distance)
    if causal:
        distance = (-distance).clip(min=0)
    else:
        buckets //= 2
        offset = (distance > 0) * buckets
        distance = np.abs(distance)
    exact = buckets // 2
    ratio = np.log(distance.clip(min=1).astype(np.float32) / np.float32(exact)) / math.log(config.max_distance / exact)
    far = (exact + (ratio * (buckets - exact)).astype(np.int64)).clip(max=buckets - 1)
    return offset + np.where(distance < exact, distance, far)
