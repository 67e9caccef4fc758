"""Packs: what the engine made of a bundle's weights, kept beside it, so that the next start maps a file and packs nothing.

A pack is a line of JSON, padded to PAGE bytes, that says what it was made of, then the image of the weights (weft._native).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from weft import beside

PAGE = 4096
OFF = "WEFT_PACKS"
"""Set to 0, this environment variable keeps packs from being written and read."""


class Pack:
    """A bundle's pack, which may not be there yet. To be made before the weights are read: it is of the file that it finds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.weights = folder, folder / "weights.safetensors"
        self.made_of: dict[str, Any] = {"weights": beside.identity(self.weights)}
        self.wanted = os.environ.get(OFF) != "0" and self.made_of["weights"][0] >= beside.WORTH
        self.name = ""

    def find(self, precision: str, programs: Any) -> tuple[str, int] | None:
        """The file and where its image begins; None if there is none, or one of something else, or damaged.

        programs: what the engine is told to run; the order of their weights is that of the image."""
        from weft import _native

        self.name = f"{precision}-{_native.isa()}.pack"
        self.made_of |= {"engine": beside.identity(Path(_native.__file__)),
                         "programs": hashlib.sha256(repr(programs).encode()).hexdigest()}
        path = self.folder / beside.FOLDER / self.name
        with suppress(OSError, ValueError):
            if self.wanted and json.loads(_head(path)) == self._said(path.stat().st_size - PAGE):
                return str(path), PAGE
        return None

    def write(self, model: Any) -> None:
        """What `find` did not find; if the folder can be written to, the disk has room for more, and the weights are
        still those that were read."""
        pieces = model.image()
        size = sum(map(len, pieces))
        with suppress(OSError):
            same = beside.identity(self.weights) == self.made_of["weights"]
            if self.wanted and same and shutil.disk_usage(self.folder).free > 4 * size:
                head = json.dumps(self._said(size)).encode().ljust(PAGE - 1) + b"\n"
                beside.keep(self.folder, self.name, [head, *pieces])

    def _said(self, size: int) -> dict[str, Any]:
        return {**self.made_of, "bytes": size}


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(PAGE)
