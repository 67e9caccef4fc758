"""The numbers that positions stand for, in NumPy: what every backend starts from."""

from __future__ import annotations

import math

import numpy as np

from weft.spec import config as c


def sinusoidal(config: c.Sinusoidal, width: int, length: int) -> np.ndarray:
    """float32 [length, width]: Vaswani et al. 2017, section 3.5. Channels past `dimension` are zero."""
    dimension = config.dimension or width
    steps = dimension // 2 - 1 if config.inclusive else dimension / 2
    angle = np.arange(length)[:, None] * config.base ** (-np.arange(dimension // 2) / steps)
    pair = (np.sin(angle), np.cos(angle))
    table = np.concatenate(pair, 1) if config.layout == "halves" else np.stack(pair, 2).reshape(length, -1)
    return np.pad(table, ((0, 0), (0, width - dimension))).astype(np.float32)


def rotary_frequencies(config: c.Rotary, dimension: int) -> np.ndarray:
    """float32 [dimension / 2]: radians a position of each pair of channels, scaled. Not for dynamic scaling."""
    exponent = np.arange(0, dimension, 2, dtype=np.float32) / np.float32(dimension)
    frequency = np.float32(1.0) / np.float32(config.base) ** exponent  # as transformers rounds it, but for a last bit
    scaling = config.scaling
    if isinstance(scaling, c.LinearScaling):
        return frequency / np.float32(scaling.factor)
    if isinstance(scaling, c.Llama3Scaling):
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        turns = scaling.original * frequency / np.float32(2 * math.pi)  # in the original window
        return _mix(frequency / np.float32(scaling.factor), frequency, ((turns - low) / (high - low)).clip(0.0, 1.0))
    if isinstance(scaling, c.YarnScaling):
        return _mix(frequency, frequency / np.float32(scaling.factor), _yarn_ramp(config.base, dimension, scaling))
    return frequency


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return (first + share * (second - first)).astype(np.float32)


def _yarn_ramp(base: float, dimension: int, scaling: c.YarnScaling) -> np.ndarray:
    """0 for channels that turn beta_fast times or more in the original window, 1 below beta_slow, a line between."""
    def channel(turns: float) -> float:
        return dimension * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dimension - 1)
    high = high + 0.001 if low == high else high
    return ((np.arange(dimension // 2) - low) / (high - low)).clip(0.0, 1.0)


def alibi_slopes(heads: int) -> np.ndarray:
    """float32 [H]: powers of 2 ** (-8 / n) for the power of two n, the rest interleaved (Press et al. 2022)."""
    closest = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / closest) for i in range(closest)]
    slopes += [2.0 ** (-4.0 * (2 * i + 1) / closest) for i in range(heads - closest)]
    return np.array(slopes, np.float32)


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
