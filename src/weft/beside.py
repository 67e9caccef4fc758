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


def identities(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Of the files that are there; taken before what they hold is read, so that a change meanwhile is no longer this file."""
    return {name: identity(folder / name) for name in names if (folder / name).is_file()}


def recall(folder: Path, files: Mapping[str, list[int]]) -> dict[str, dict[str, str]]:
    """Name -> facts of a file, of those that are still the same. files: `identities`."""
    try:
        kept = json.loads((folder / FOLDER / _FACTS).read_bytes())
        found = {name: kept[name]["known"] for name in kept if kept[name]["of"] == files.get(name)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {name: known for name, known in found.items() if isinstance(known, dict) and isinstance(known.get("sha256"), str)}


def remember(folder: Path, files: Mapping[str, list[int]], known: Mapping[str, Mapping[str, str]]) -> None:
    """Keep these facts, instead of all before. A folder that cannot be written to is left alone."""
    entries = {name: {"of": files[name], "known": facts} for name, facts in known.items()}
    with suppress(OSError):
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
