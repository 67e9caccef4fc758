"""Processors, one file each: pure functions on float32 [rows, vocabulary], logits unless options.beam_scores is "raw".

A module's `PROCESSOR` is a frozen dataclass with `order` (its place, semantics 2), `shapes` (whether it shapes the draw
only, or is a rule of every search), `from_options` (None where the options leave it off) and `__call__`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Protocol

import numpy as np

from weft.decode.rows import Rows
from weft.errors import UnknownNameError
from weft.spec.decoding import GenerationOptions


class Processor(Protocol):
    order: ClassVar[int]
    shapes: ClassVar[bool]
    """True: temperature and truncations, which only sampling uses and log-probabilities leave out (semantics 2)."""

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Processor | None: ...

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        """New logits; those given may not be written to."""
        ...


@cache
def processors() -> dict[str, type[Processor]]:
    """Name of its module -> every processor in this folder, in the order in which they run."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    found = {name: module.PROCESSOR for name, module in modules.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].order))


def processors_for(options: GenerationOptions) -> dict[str, Processor]:
    """The processors that these options turn on, by name, in the order that they ask for."""
    known = processors()
    made = {name: known[name].from_options(options) for name in _in_order(list(known), options.order)}
    return {name: processor for name, processor in made.items() if processor is not None}


def _in_order(names: list[str], wanted: Sequence[str]) -> list[str]:
    """names, where those in `wanted` take each other's places so as to come in its order."""
    for name in wanted:
        if name not in names:
            raise UnknownNameError("processor in order", name, names)
    following = iter(wanted)
    return [next(following) if name in wanted else name for name in names]
