"""Strategies, one file each: the file is the registry. A module's `STRATEGY` is its class."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from weft.decode.strategies.strategy import Request, Strategy
from weft.spec.decoding import GenerationOptions, Runner


@cache
def strategies() -> dict[str, type[Strategy]]:
    """Name -> class of every strategy in this folder."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module.STRATEGY for name, module in modules.items() if hasattr(module, "STRATEGY")}


def choose(options: GenerationOptions, runner: Runner, requests: Sequence[Request]) -> Strategy:
    """The strategy that these options ask for, ready for its first step."""
    (chosen,) = [strategy for strategy in strategies().values() if strategy.accepts(options)]
    return chosen(options, runner, requests)
