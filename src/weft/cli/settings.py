"""--explain-settings: the strategy in force, where every option comes from, and what runs in which order."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from weft.decode.processors import processors_for
from weft.decode.strategies import name_of, strategies
from weft.model import Model
from weft.spec.decoding import GenerationOptions
from weft.spec.presets import preset

HELP = "say on standard error which strategy, options and processors are in force, and where they come from"


def print_settings(model: Model, options: GenerationOptions, given: Mapping[str, Any]) -> None:
    """options: those in force; given: those of the command line, a preset among them."""
    name = given.get("preset")
    presets = dict.fromkeys(preset(name), f"preset {name}") if name else {}
    for line in settings(model, options, given, presets):
        print(line, file=sys.stderr)


def settings(model: Model, options: GenerationOptions, given: Mapping[str, Any], others: Mapping[str, str]) -> Iterator[str]:
    """others: where else an option comes from, by its name."""
    name = name_of(options)
    yield f"settings of {model.bundle.path.name}"
    yield f"  strategy: {_first_sentence(sys.modules[strategies()[name].__module__])}"
    rows = [(option, getattr(options, option.name)) for option in dataclasses.fields(options)
            if getattr(options, option.name) != option.default or option.name in given]
    yield "  options that are not at their defaults, or were given:" if rows else "  options: all at their defaults"
    for option, value in rows:
        where = "command line" if option.name in given else others.get(option.name) or (
            "model's defaults" if option.name in model.bundle.generation else "follows from the others")
        yield f"    {option.name} = {value} ({where}): {option.metadata['help']}"
    yield from _order(options)
    ends = ["end-of-sequence", *(["another end"] if options.eos else []), *(f"the text {text!r}" for text in options.stop)]
    default = f"what the model's window holds, after a source at most 2 x its tokens + {10 + options.min_new_tokens}"
    limit = default if options.max_new_tokens is None else f"{options.max_new_tokens} new tokens"
    yield f"  a text ends at {' or '.join(ends)}, or at {limit}"


def _order(options: GenerationOptions) -> Iterator[str]:
    made = processors_for(options)
    bans = ["bans"] if options.banned or options.min_new_tokens else []
    for what, shapes in (("of every search", False), ("of the draw", True)):
        names = [f"{name}({_values(one)})" for name, one in made.items() if one.shapes == shapes]
        if shapes and not options.draws:
            continue
        yield f"  processors {what}, in order: {', '.join([*([] if shapes else bans), *names]) or 'none'}"


def _values(processor: Any) -> str:
    return ", ".join(f"{part.name} {getattr(processor, part.name)}" for part in dataclasses.fields(processor))


def _first_sentence(module: Any) -> str:
    return " ".join((module.__doc__ or "").split("\n\n")[0].split())
