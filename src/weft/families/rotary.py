"""Rotary positions as most foreign configs write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weft.errors import ConfigError, UnknownNameError
from weft.families.foreign import ForeignConfig
from weft.spec import config as c


def read_rotary(foreign: ForeignConfig, head_size: int, window: int, *, base: float = 10000.0, share: float = 1.0,
                values: Mapping[str, Any] | None = None) -> c.Rotary:
    """`rope_theta` and `rope_scaling`, or the newer `rope_parameters`. values: those of one kind of layer.

    share: default of `partial_rotary_factor`. window: max_position_embeddings."""
    newer = foreign.get("rope_parameters", {}) if values is None else values
    older = foreign.get("rope_scaling", {}) if values is None else {}
    scaling, table = dict(older or newer), "rope_scaling" if older else "rope_parameters"
    kind = str(scaling.pop("rope_type", scaling.pop("type", "default")))
    scaling.pop("type", None)
    foreign.nested |= {f"{table}.{key}": value for key, value in scaling.items() if key not in KEYS}
    if kind == "su" or (kind == "yarn" and "long_factor" in scaling):  # the first names of longrope
        kind = "longrope"
    base = _number(scaling, "rope_theta", float(foreign.get("rope_theta", base)) if values is None else base)
    if older and newer and _number(newer, "rope_theta", base) != base:
        raise ConfigError(f"the checkpoint's config.json has rope_scaling, which goes before rope_parameters, and rope_theta = "
                          f"{newer['rope_theta']!r} in the latter alone; with rope_scaling it counts as {base!r}. Write it "
                          f"beside rope_scaling too")
    original = foreign.any("original_max_position_embeddings")
    if original is not None and values is None:  # goes before that of the scaling, in transformers too
        scaling["original_max_position_embeddings"] = original
    part = _number(scaling, "partial_rotary_factor", float(foreign.get("partial_rotary_factor", share)))
    turned = int(head_size * part)
    return c.Rotary(base, None if turned == head_size else turned, _read_scaling(kind, scaling, window))


def _number(values: Mapping[str, Any], key: str, default: float | None = None) -> Any:
    """A number above 0; `default` where it is absent or null. Raises ConfigError."""
    value = values.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 < value < c.MOST**2:
        raise ConfigError(f"the checkpoint's config.json has rotary positions with {key} = {value!r:.60}; it must be a number "
                          f"above 0")
    return float(value)


def _numbers(values: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """A list of numbers above 0. Raises ConfigError."""
    if not isinstance(values[key], list):
        raise ConfigError(f"the checkpoint's config.json has rotary positions with {key} = {values[key]!r:.60}; it must be a "
                          f"list of numbers")
    return tuple(_number({key: value}, key, 0.0) for value in values[key])


def _read_scaling(kind: str, values: dict[str, Any], window: int) -> c.RotaryScaling | None:
    if kind == "default":
        return None
    if kind not in KINDS:
        raise UnknownNameError("kind of rotary scaling", kind, ("default", *KINDS))
    lacking = [key for key in KINDS[kind] if values.get(key) is None]
    if lacking:
        raise ConfigError(f"the checkpoint's config.json has rotary positions of type {kind!r} without {', '.join(lacking)}")
    factor, original = _number(values, "factor"), int(_number(values, "original_max_position_embeddings", window))
    if kind == "linear":
        return c.LinearScaling(factor)
    if kind == "dynamic":
        return c.DynamicScaling(factor, window)
    if kind == "llama3":
        return c.Llama3Scaling(factor, _number(values, "low_freq_factor"), _number(values, "high_freq_factor"), original)
    factor = window / original if factor is None else factor
    if kind == "longrope":
        return c.LongRopeScaling(_numbers(values, "short_factor"), _numbers(values, "long_factor"), original,
                                 _number(values, "attention_factor", long_attention(factor, original)))
    return c.YarnScaling(factor, original, _yarn_attention(factor, values), _number(values, "beta_fast", 32.0),
                         _number(values, "beta_slow", 1.0), bool(values.get("truncate", True)))


KINDS: dict[str, tuple[str, ...]] = {"linear": ("factor",), "dynamic": ("factor",),
                                     "llama3": ("factor", "low_freq_factor", "high_freq_factor"), "yarn": (),
                                     "longrope": ("short_factor", "long_factor")}
"""Kinds of scaling, and the keys that each needs."""
KEYS = {key for needed in KINDS.values() for key in needed} | {
    "rope_theta", "partial_rotary_factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
    "truncate", "mscale", "mscale_all_dim", "finetuned"}
"""Keys that are read, and `finetuned`, which says how the model came about."""


def _yarn_attention(factor: float, values: Mapping[str, Any]) -> float:
    """Peng et al. 2023, equation 15, with DeepSeek's mscale."""
    def scale(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if values.get("attention_factor") is not None:
        return _number(values, "attention_factor")
    if values.get("mscale") and values.get("mscale_all_dim"):
        return scale(_number(values, "mscale")) / scale(_number(values, "mscale_all_dim"))
    return scale(1.0)


def long_attention(factor: float, original: int) -> float:
    """Ding et al. 2024, as Phi-3 has it."""
    return 1.0 if factor <= 1 or original < 2 else math.sqrt(1 + math.log(factor) / math.log(original))


def rotary_keys(rotary: c.Rotary, head_size: int, share: float = 1.0) -> dict[str, Any]:
    """`rope_parameters`, and the same in the words of transformers 4, which does not know them; 5 reads either.

    share: what the family takes for a `partial_rotary_factor` that is absent.
    """
    values = ({} if share == 1.0 else {"partial_rotary_factor": 1.0}) | write_rotary(rotary, head_size)
    older = {key: values[key] for key in ("rope_theta", "partial_rotary_factor") if key in values}
    if rotary.scaling is not None:
        kind = {"type": rotary.scaling.type, "rope_type": rotary.scaling.type}
        older["rope_scaling"] = kind | {key: value for key, value in values.items() if key not in (*older, "rope_type")}
    return {"rope_parameters": values, **older}


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
    elif isinstance(scaling, c.LongRopeScaling):
        values |= {"short_factor": list(scaling.short), "long_factor": list(scaling.long),
                   "original_max_position_embeddings": scaling.original, "attention_factor": scaling.attention_factor}
    elif scaling is not None:
        values["factor"] = scaling.factor
    return values


def _share(dimension: int, head_size: int) -> float:
    """A factor that gives `dimension` again where the product with head_size is cut to a whole number."""
    share = dimension / head_size
    return share if int(head_size * share) == dimension else math.nextafter(share, 1.0)
