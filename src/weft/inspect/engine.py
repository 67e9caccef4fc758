"""What the native engine makes of a model: its operations, with the kernel and precision of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from weft.errors import UsageError
from weft.model import Model


def describe_engine(model: Model, every_layer: bool = False) -> str:
    """Lines of text. every_layer: operations in their order, not each kind once with how many there are.

    Raises UsageError for a model that the engine does not run.
    """
    if model.backend != "native":
        raise UsageError("the model is asked for on PyTorch, and this tells of the native engine; leave out --backend torch")
    engine = model.runner.model  # type: ignore[attr-defined]
    return "\n".join([f"{engine.isa} kernels, {model.precision}, {engine.threads} threads, "
                      f"{engine.bytes / 1e6:,.1f} MB of packed matrices", *_programs(engine.describe(), every_layer)])


def _programs(lines: list[tuple[str, str]], every_layer: bool) -> Iterator[str]:
    for program in dict.fromkeys(name for name, _ in lines):
        own = [line for name, line in lines if name == program and not line.startswith("tap ")]
        yield f"\n{program}"
        for line, count in [(line, 1) for line in own] if every_layer else Counter(own).items():
            yield f"  {f'{count} x ' if count > 1 else ''}{line}"
