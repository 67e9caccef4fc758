"""A model's default options, and what a call asks for instead of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from weft.errors import UnknownNameError
from weft.spec.decoding import GenerationOptions


def override(base: GenerationOptions, options: Mapping[str, Any]) -> GenerationOptions:
    """`options` in place of the defaults `base`."""
    names = [field.name for field in fields(GenerationOptions)]
    for name in options:
        if name not in names:
            raise UnknownNameError("generation option", name, names)
    asked = {name: _plain(value) for name, value in options.items()}
    if asked.get("banned"):
        asked["banned"] = tuple(dict.fromkeys((*base.banned, *asked["banned"])))  # a model's own bans stay
    return GenerationOptions(**{**_beside(base, asked), **asked})


def without_beams(options: Mapping[str, Any], draft: Any) -> dict[str, Any]:
    """A draft does away with a model's default beams, which nobody has asked for."""
    return dict(options) if draft is None else {"beams": 1, "n_best": 1} | dict(options)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's own."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
        return tuple(value) if isinstance(value, list) else value
    return value.item() if isinstance(value, np.generic) else value


def _beside(base: GenerationOptions, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults that are not neutral, but for those that what is asked for contradicts or leaves nothing to do."""
    held = {field.name: getattr(base, field.name) for field in fields(base)
            if field.name not in asked and getattr(base, field.name) != field.default}
    beams, most = asked.get("beams"), asked.get("max_new_tokens")
    if asked.get("sample") or asked.get("penalty_alpha") or asked.get("lookup"):
        held.pop("beams", None)
    if asked.get("penalty_alpha") or (isinstance(beams, int) and beams > 1):
        held.pop("sample", None)
    if isinstance(most, int) and "min_new_tokens" in held:
        held["min_new_tokens"] = max(0, min(held["min_new_tokens"], most))
    beams = asked.get("beams", held.get("beams", 1))
    if isinstance(beams, int):
        for name in ("n_best", "beam_groups"):
            if name in held and (beams < held[name] or (name == "beam_groups" and beams % held[name])):
                del held[name]
    neutral = {field.name: field.default for field in fields(base)}
    idle = {field.name for field in fields(base) if field.name in held and (needed := field.metadata.get("needs"))
            and {**asked, **held}.get(needed, neutral[needed]) == neutral[needed]}
    return {name: value for name, value in held.items() if name not in idle}
