"""What runs a model: the native engine, or PyTorch. Nothing of either is imported before it is chosen."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from weft.errors import UsageError
from weft.spec.ranges import check_choice

if TYPE_CHECKING:
    from weft.bundle import Bundle
    from weft.spec.config import ModelConfig

BACKENDS = ("auto", "native", "torch")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
AUTO = {"native": "int8", "imported": "bf16", "torch": "fp32"}
"""The precision of each where none is asked for; of imported models on the engine, for which int8 was not measured
(docs/performance.md)."""


def check(backend: str, precision: str) -> None:
    """Raises UsageError, with the nearest, for a name that is none."""
    check_choice("backend", backend, BACKENDS)
    check_choice("precision", precision, PRECISIONS)


def choose(bundle: Bundle, backend: str = "auto", precision: str = "auto") -> tuple[str, str]:
    """The backend and the precision that a bundle runs by. Raises UsageError where there is none.

    auto: the engine, if it is there and knows every part of the model, else PyTorch; and what AUTO says.
    """
    check(backend, precision)
    problem = "" if backend == "torch" else _no_engine(bundle.config)
    if backend == "native" and problem:
        raise UsageError(f"{problem}; use the torch backend: pip install 'weft[torch]' and --backend torch")
    chosen = "torch" if problem or backend == "torch" else "native"
    because = f"{problem}, and " if problem else ""
    if chosen == "torch" and find_spec("torch") is None:
        raise UsageError(f"{because}running it on the torch backend needs PyTorch: pip install 'weft[torch]'")
    if chosen == "torch" and precision == "int8":
        raise UsageError(f"{because}PyTorch computes in fp32 or bf16; leave out precision int8")
    usual = AUTO["imported" if chosen == "native" and bundle.family else chosen]
    return chosen, usual if precision == "auto" else precision


def _no_engine(config: ModelConfig) -> str:
    """Why the engine cannot run the model; empty if it can."""
    from weft.backends.lowering import unknown_part
    from weft.backends.native import is_available

    if not is_available():
        return "this installation has no native engine, for want of a C++ compiler when it was built"
    part = unknown_part(config)
    return f"the native engine does not know {part}" if part else ""


def open_runner(bundle: Bundle, backend: str = "auto", precision: str = "auto", threads: int | None = None) -> Any:
    """A runner (weft.spec.runner.TextRunner) of a bundle. threads: of the engine; default: `default_threads`."""
    backend, precision = choose(bundle, backend, precision)
    if backend == "native":
        from weft.backends import native, packs

        pack = packs.Pack(bundle.path)
        return native.build_runner(bundle.config, bundle.tensors(), precision, threads or default_threads(), pack)
    from weft.backends import torch

    return torch.build_runner(bundle.config, bundle.tensors(), precision)


def default_threads() -> int:
    """OMP_NUM_THREADS, as PyTorch has it, or as many as cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
