"""Tasks, one file each: the file is the registry. A module's `TASK` is the task."""

from __future__ import annotations

import importlib
import pkgutil

from weft.errors import UnknownNameError
from weft.tasks.task import IGNORED, Encoded, Example, Task

__all__ = ["IGNORED", "Encoded", "Example", "Task", "find_task", "task_names", "trained_names"]


def task_names() -> list[str]:
    return [info.name for info in pkgutil.iter_modules(__path__) if info.name not in ("task", "windows")]


def trained_names() -> list[str]:
    """Those of tasks that models are trained for: they make ids of examples."""
    return [name for name in task_names() if type(find_task(name)).encode is not Task.encode]


def find_task(name: str) -> Task:
    """The task of that name. Raises UnknownNameError."""
    if name not in task_names():
        raise UnknownNameError("task", name, trained_names())
    return importlib.import_module(f"{__name__}.{name}").TASK
