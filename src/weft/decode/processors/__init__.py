"""Processors, one file each: pure functions on raw logits, float32 [rows, vocabulary].

A module's `PROCESSOR` is a frozen dataclass with `order` (its place, semantics 2), `from_options` (None where the
options leave it off) and `__call__`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import ClassVar, Protocol

import numpy as np

from weft.spec.decoding import GenerationOptions


class Processor(Protocol):
    order: ClassVar[int]

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Processor | None: ...

    def __call__(self, logits: np.ndarray) -> np.ndarray: ...


@cache
def processors() -> tuple[type[Processor], ...]:
    """Every processor in this folder, in the order in which they run."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(sorted((module.PROCESSOR for module in modules), key=lambda processor: processor.order))


def processors_for(options: GenerationOptions) -> list[Processor]:
    """The processors that these options turn on, in order."""
    made = (processor.from_options(options) for processor in processors())
    return [processor for processor in made if processor is not None]
