"""Tasks, one file each: the file is the registry. A module's `TASK` is the task."""

from __future__ import annotations

import importlib
import pkgutil

from weft.errors import UnknownNameError
from weft.tasks.task import Encoded, Pair, Task

__all__ = ["Encoded", "Pair", "Task", "find_task"]


def find_task(name: str) -> Task:
    """The task of that name. Raises UnknownNameError."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name != "task"]
    if name not in names:
        raise UnknownNameError("task", name, names)
    return importlib.import_module(f"{__name__}.{name}").TASK
