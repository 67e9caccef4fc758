"""What was found out about a bundle's files, in its folder `.cache`: nothing there is needed, and all of it can be made again.

A file is known by its size, the times of its last changes and its inode. A copy has others, so that what a bundle brings along
from elsewhere is not believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = ".cache"
WORTH = 4 << 20
"""Bytes of weights below which nothing is kept: looking again is as quick."""
_FACTS = "facts.json"


def identity(path: Path) -> list[int]:
    """What changes when the file does. Raises OSError."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def recall(folder: Path) -> dict[str, Any]:
    """Name -> what is known of a file of that name, if the file is still the same."""
    try:
        kept = json.loads((folder / FOLDER / _FACTS).read_bytes())
        return {name: entry["known"] for name, entry in kept.items() if identity(folder / name) == entry["of"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def remember(folder: Path, known: Mapping[str, Any]) -> None:
    """Keep this of the bundle's files, instead of all before. A folder that cannot be written to is left alone."""
    with suppress(OSError):
        entries = {name: {"of": identity(folder / name), "known": what} for name, what in known.items()}
        keep(folder, _FACTS, [json.dumps(entries).encode()])


def keep(folder: Path, name: str, pieces: Iterable[Any]) -> None:
    """Write a file of the cache, whole or not at all. Raises OSError."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    temporary = place / f".{name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place / name)
    finally:
        temporary.unlink(missing_ok=True)
