"""Strategies, one file each: the file is the registry. A module's `STRATEGY` is its class."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from weft.decode.strategies.strategy import Batch, Strategy


@cache
def strategies() -> dict[str, type[Strategy]]:
    """Name -> class of every strategy in this folder."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module.STRATEGY for name, module in modules.items() if hasattr(module, "STRATEGY")}


def choose(batch: Batch) -> Strategy:
    """The strategy that a batch's options ask for, ready for its first step."""
    (chosen,) = [strategy for strategy in strategies().values() if strategy.accepts(batch.options)]
    return chosen(batch)
