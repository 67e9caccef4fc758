"""Training: options in, events out, a bundle in the end.

The package is callable, so that `weft.train(options)` means the same whether or not a submodule has been imported:
Python makes `weft.train` this package as soon as one is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from weft.errors import UsageError
from weft.spec.training import TrainingEvent, TrainingOptions


def train(options: TrainingOptions | None = None, *, stop: Callable[[], bool] = lambda: False, **fields: Any
          ) -> Iterator[TrainingEvent]:
    """Train as options say, or as their fields given by name say; yields events, the last one `Finished`.

    The same options go on with a run that was stopped or killed. stop: asked after every update; True ends the run
    with a checkpoint and a bundle of the best weights so far. Raises WeftError.
    """
    if find_spec("torch") is None:
        raise UsageError("training needs PyTorch: pip install 'weft[torch]'")
    from weft.train.loop import train as events

    return events(options if options is not None else TrainingOptions(**fields), stop)


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **fields: Any) -> Iterator[TrainingEvent]:
        return train(*arguments, **fields)


sys.modules[__name__].__class__ = _CallablePackage

__all__ = ["train"]
