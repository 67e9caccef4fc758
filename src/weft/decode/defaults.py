"""A model's default options, a preset's, and what a call asks for instead of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from weft.decode.inputs import own_kinds
from weft.errors import UnknownNameError, UsageError
from weft.spec.contradictions import idle
from weft.spec.decoding import GenerationOptions
from weft.spec.ranges import shown


def override(base: GenerationOptions, options: Mapping[str, Any], preset: Mapping[str, Any] | None = None) -> GenerationOptions:
    """`options` in place of the defaults `base`. preset: values in place of defaults that give way as those do."""
    names = [field.name for field in fields(GenerationOptions)]
    for name in options:
        if name not in names:
            raise UnknownNameError("generation option", name, names)
    asked = dict(options)
    if asked.get("banned") and isinstance(asked["banned"], tuple):
        asked["banned"] = (*base.banned, *(item for item in asked["banned"] if item not in base.banned))  # a model's own stay
    held = {field.name: getattr(base, field.name) for field in fields(base) if getattr(base, field.name) != field.default}
    return GenerationOptions(**{**_beside(held | dict(preset or {}), asked), **asked})


def beside_draft(options: Mapping[str, Any], draft: Any) -> dict[str, Any]:
    """What is asked for with a draft, which does away with a model's default beams, or without one. Raises UsageError."""
    if draft is not None:
        return {"beams": 1, "n_best": 1} | dict(options)
    asked = own_kinds(options.get("draft_tokens", GenerationOptions.draft_tokens))
    if asked != GenerationOptions.draft_tokens:
        raise UsageError(f"draft_tokens={shown(asked)} does nothing without a draft; give a model that guesses (draft=, "
                         f"--draft) or drop draft_tokens")
    return dict(options)


def _beside(defaults: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults but for those that what is asked for contradicts or leaves nothing to do."""
    held = {name: value for name, value in defaults.items() if name not in asked}
    for name in _other_searches(asked):
        if held.pop(name, None) and name != "beams":
            held.pop("top_k", None)  # which belongs to sampling or to contrastive search, whichever it was
    most = asked.get("max_new_tokens")
    if isinstance(most, int) and "min_new_tokens" in held:
        held["min_new_tokens"] = max(0, min(held["min_new_tokens"], most))
    beams = asked.get("beams", held.get("beams", 1))
    if isinstance(beams, int):
        for name in ("n_best", "beam_groups"):
            if name in held and (beams < held[name] or (name == "beam_groups" and beams % held[name])):
                del held[name]
    nothing_to_do = {name for name, _ in idle(GenerationOptions, {**held, **asked})}
    return {name: value for name, value in held.items() if name not in nothing_to_do}


def _other_searches(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Defaults that make way for the search that is asked for."""
    beams, temperature = asked.get("beams"), asked.get("temperature")
    if isinstance(beams, int) and beams > 1:
        return "sample", "penalty_alpha"
    if asked.get("penalty_alpha"):
        return "beams", "sample"
    greedy = isinstance(temperature, int | float) and temperature == 0
    return ("beams", "penalty_alpha") if asked.get("sample") or asked.get("lookup") or greedy else ()
