"""Processors, one file each: functions of float32 [rows, vocabulary], logits unless options.beam_scores is "raw".

A module is named after the option that turns it on. Its `PROCESSOR` is a frozen dataclass with `order` (its place,
semantics 2), `shapes` (whether it shapes the draw only, or is a rule of every search), `from_options` (None where the options
leave it off) and `__call__`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, Protocol

import numpy as np

from weft.decode.rows import Rows
from weft.errors import UnknownNameError, UsageError
from weft.spec.decoding import GenerationOptions

_OFF = GenerationOptions()


class Processor(Protocol):
    order: ClassVar[int]
    shapes: ClassVar[bool]
    """True: temperature and truncations, which only sampling uses and log-probabilities leave out (semantics 2)."""

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Processor | None: ...

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        """The logits that it makes of those given, which a rule may write to and give back, and a shape may not: rules touch
        a few tokens, and a copy of all of them would cost more."""
        ...


@cache
def names() -> tuple[str, ...]:
    """Names of the modules in this folder, each that of the option which turns its processor on."""
    return tuple(info.name for info in pkgutil.iter_modules(__path__))


def processors(chosen: Sequence[str] | None = None) -> dict[str, type[Processor]]:
    """Name of its module -> processor, in the order in which they run: all of them, or those chosen."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in (names() if chosen is None else chosen)}
    return dict(sorted(((name, module.PROCESSOR) for name, module in modules.items()), key=lambda item: item[1].order))


def processors_for(options: GenerationOptions) -> dict[str, Processor]:
    """The processors that these options turn on, by name, in the order that they ask for. No other is imported."""
    known = processors(None if options.order else [name for name in names() if getattr(options, name) != getattr(_OFF, name)])
    _check_order(known, options.order)
    made = {name: known[name].from_options(options) for name in _in_order(list(known), options.order)}
    return {name: processor for name, processor in made.items() if processor is not None}


def _check_order(known: Mapping[str, type[Processor]], wanted: Sequence[str]) -> None:
    for place, name in enumerate(wanted):
        if name not in known:
            raise UnknownNameError("processor in order", name, known)
        if name in wanted[:place]:
            raise UsageError(f"order holds {name!r} twice; a processor runs once")
        if place and known[wanted[place - 1]].shapes and not known[name].shapes:
            raise UsageError(f"order puts {name} after {wanted[place - 1]}; what shapes the draw runs after all rules")


def _in_order(names: list[str], wanted: Sequence[str]) -> list[str]:
    """names, where those in `wanted` take each other's places so as to come in its order."""
    following = iter(wanted)
    return [next(following) if name in wanted else name for name in names]
