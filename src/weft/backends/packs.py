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
    """The pack of a bundle for a precision and an instruction set; it may not be there yet.

    programs: what the engine is told to run; the order of their weights is that of the image."""

    def __init__(self, folder: Path, precision: str, isa: str, programs: Any) -> None:
        from weft import _native

        self.folder, self.name = folder, f"{precision}-{isa}.pack"
        weights = folder / "weights.safetensors"
        self.wanted = os.environ.get(OFF) != "0" and weights.stat().st_size >= beside.WORTH
        self.made_of = {"weights": beside.identity(weights), "engine": beside.identity(Path(_native.__file__)),
                        "programs": hashlib.sha256(repr(programs).encode()).hexdigest()}

    def find(self) -> tuple[str, int] | None:
        """The file and where its image begins; None if there is none, or one of something else, or damaged."""
        path = self.folder / beside.FOLDER / self.name
        with suppress(OSError, ValueError):
            if self.wanted and json.loads(_head(path)) == self._said(path.stat().st_size - PAGE):
                return str(path), PAGE
        return None

    def write(self, model: Any) -> None:
        """Where the folder can be written to, and the disk has room for more than this."""
        pieces = model.image()
        size = sum(map(len, pieces))
        with suppress(OSError):
            if self.wanted and shutil.disk_usage(self.folder).free > 4 * size:
                head = json.dumps(self._said(size)).encode().ljust(PAGE - 1) + b"\n"
                beside.keep(self.folder, self.name, [head, *pieces])

    def _said(self, size: int) -> dict[str, Any]:
        return {**self.made_of, "bytes": size}


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(PAGE)
