"""Training states on disk: written to a temporary file and renamed, the two newest kept.

A state is one safetensors file, so it is whole or not there. One that cannot be read is passed over for the one
before it, and said so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weft.bundle import write_atomically
from weft.errors import CheckpointError

KEPT = 2


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Path:
    """Write state-STEP.safetensors and drop all but the newest two.

    Raises CheckpointError if the disk refuses; earlier states stay as they are.
    """
    path = folder / f"state-{step:09d}.safetensors"
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    try:
        write_atomically(path, content)
    except OSError as error:
        before = next(_newest_first(folder), None)
        kept = f"the state of step {_step_of(before)} stays usable" if before else "there is none before it"
        raise CheckpointError(f"cannot write the training state of step {step} ({len(content):,} bytes) to {path}: "
                              f"{error.strerror}; {kept}. Free some space; training goes on") from error
    for old in list(_newest_first(folder))[KEPT:]:
        old.unlink()
    return path


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """The newest readable state: tensors, facts, and a warning for each newer file that was damaged.

    None if there is no state. Raises CheckpointError if there are states and all are damaged.
    """
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                return {name: file.get_tensor(name) for name in file.keys()}, facts, warnings  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            warnings.append(f"training state {path} is damaged ({error}); using the one before it")
    if warnings:
        raise CheckpointError("; ".join(warnings) + ". No usable state is left: start again with --overwrite")
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("state-*.safetensors"), reverse=True))


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("state-"))
