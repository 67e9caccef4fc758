"""Strategies, one file each: the file is the registry. A module's `STRATEGY` is its class."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from weft.decode.strategies.strategy import Batch, Strategy
from weft.spec.decoding import GenerationOptions


@cache
def strategies() -> dict[str, type[Strategy]]:
    """Name -> class of every strategy in this folder."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module.STRATEGY for name, module in modules.items() if hasattr(module, "STRATEGY")}


def name_of(options: GenerationOptions) -> str:
    """The name of the strategy that these options ask for."""
    (chosen,) = [name for name, strategy in strategies().items() if strategy.accepts(options)]
    return chosen


def choose(batch: Batch) -> Strategy:
    """The strategy that a batch's options ask for, ready for its first step."""
    return strategies()[name_of(batch.options)](batch)
