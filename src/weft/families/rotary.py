"""Rotary positions as most foreign configs write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weft.errors import UnknownNameError
from weft.families.foreign import ForeignConfig
from weft.spec import config as c


def read_rotary(foreign: ForeignConfig, head_size: int, window: int, *, base: float = 10000.0, share: float = 1.0,
                values: Mapping[str, Any] | None = None) -> c.Rotary:
    """`rope_theta` and `rope_scaling`, or the newer `rope_parameters`. values: those of one kind of layer.

    share: default of `partial_rotary_factor`. window: max_position_embeddings."""
    newer = foreign.get("rope_parameters", {}) if values is None else values
    scaling = dict(foreign.get("rope_scaling", {}) if values is None else {}) | dict(newer)
    kind = scaling.pop("rope_type", scaling.pop("type", "default"))
    scaling.pop("type", None)
    theta = scaling.pop("rope_theta", None)
    base = float(theta if theta is not None else foreign.get("rope_theta", base) if values is None else base)
    part = scaling.pop("partial_rotary_factor", None)
    part = float(part if part is not None else foreign.get("partial_rotary_factor", share))
    turned = int(head_size * part)
    return c.Rotary(base, None if turned == head_size else turned, _read_scaling(kind, scaling, window))


def _read_scaling(kind: str, values: dict[str, Any], window: int) -> c.RotaryScaling | None:
    original = int(values.get("original_max_position_embeddings") or window)
    if kind == "default":
        return None
    if kind == "linear":
        return c.LinearScaling(float(values["factor"]))
    if kind == "dynamic":
        return c.DynamicScaling(float(values["factor"]), window)
    if kind == "llama3":
        return c.Llama3Scaling(float(values["factor"]), float(values["low_freq_factor"]), float(values["high_freq_factor"]),
                               original)
    if kind == "yarn":
        factor = float(values.get("factor") or window / original)
        return c.YarnScaling(factor, original, _yarn_attention(factor, values), float(values.get("beta_fast") or 32),
                             float(values.get("beta_slow") or 1), bool(values.get("truncate", True)))
    raise UnknownNameError("kind of rotary scaling", kind, ("default", "linear", "dynamic", "llama3", "yarn"))


def _yarn_attention(factor: float, values: Mapping[str, Any]) -> float:
    """Peng et al. 2023, equation 15, with DeepSeek's mscale."""
    def scale(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if values.get("attention_factor") is not None:
        return float(values["attention_factor"])
    if values.get("mscale") and values.get("mscale_all_dim"):
        return scale(values["mscale"]) / scale(values["mscale_all_dim"])
    return scale(1.0)


def write_rotary(rotary: c.Rotary, head_size: int) -> dict[str, Any]:
    """`rope_parameters`."""
    scaling = rotary.scaling
    values: dict[str, Any] = {"rope_type": "default" if scaling is None else scaling.type, "rope_theta": rotary.base}
    if rotary.dimension is not None:
        values["partial_rotary_factor"] = _share(rotary.dimension, head_size)
    if isinstance(scaling, c.Llama3Scaling):
        values |= {"factor": scaling.factor, "low_freq_factor": scaling.low_frequency_factor,
                   "high_freq_factor": scaling.high_frequency_factor,
                   "original_max_position_embeddings": scaling.original}
    elif isinstance(scaling, c.YarnScaling):
        values |= {"factor": scaling.factor, "original_max_position_embeddings": scaling.original,
                   "attention_factor": scaling.attention_factor, "beta_fast": scaling.beta_fast,
                   "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
    elif scaling is not None:
        values["factor"] = scaling.factor
    return values


def _share(dimension: int, head_size: int) -> float:
    """A factor that gives `dimension` again where the product with head_size is cut to a whole number."""
    share = dimension / head_size
    return share if int(head_size * share) == dimension else math.nextafter(share, 1.0)
