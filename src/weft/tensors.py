"""Safetensors files, mapped: numbers stay as they are stored until someone needs them wider.

NumPy has no bfloat16, so such tensors are carried as the 16-bit integers of their bits. What only moves numbers
(import rules) works on any kind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from weft.errors import BundleError

STORES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""How weights may be stored, and what safetensors calls it."""
_BITS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Stored:
    """A tensor as a file holds it. kind: F32, F16 or BF16, whose `bits` are uint16."""

    bits: np.ndarray
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    def wide(self) -> np.ndarray:
        """float32, a copy."""
        if self.kind == "BF16":  # the upper half of a float32
            return (self.bits.astype(np.uint32) << 16).view(np.float32)
        return self.bits.astype(np.float32)


def narrow(name: str, array: np.ndarray, store: str) -> Stored:
    """float32 to `store`. Raises BundleError for a value too large for it, which would come back as infinity."""
    if store not in STORES:
        raise BundleError(f"weights cannot be stored as {store!r}; use {', '.join(STORES)}")
    wide = np.ascontiguousarray(array, dtype="<f4")
    if store == "bfloat16":
        bits = wide.view("<u4")
        rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype("<u2")  # to nearest, ties to even
        return Stored(np.where(np.isnan(wide), np.uint16(0x7FC0), rounded), "BF16")
    with np.errstate(over="ignore"):
        narrowed = wide.astype(_BITS[STORES[store]])
    if (np.isinf(narrowed) & np.isfinite(wide)).any():
        raise BundleError(f"{name} holds {np.abs(wide[np.isfinite(wide)]).max():g}, above the largest {store} (65,504); "
                          f"store the weights as bfloat16 or float32")
    return Stored(narrowed, STORES[store])


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> kind and shape, of a file whose header and offsets are sound. Raises BundleError."""
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in _header(path)[0].items()}


def read_file(path: Path) -> dict[str, Stored]:
    """Every tensor, mapped from the file. Raises BundleError for damage, and for kinds that are no weights."""
    header, start = _header(path)
    odd = [f"{name} is {entry['dtype']}" for name, entry in header.items() if entry["dtype"] not in _BITS]
    if odd:
        raise BundleError(f"{path}: weights are stored as {', '.join(STORES)}, but {'; '.join(odd[:8])}")
    if not header:
        return {}
    data = np.memmap(path, np.uint8, "r")
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = Stored(data[start + begin : start + end].view(_BITS[entry["dtype"]]).reshape(entry["shape"]),
                             entry["dtype"])
    return found


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header without its metadata, and where the tensors begin. The library checks sizes and offsets first."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as weights: {error}") from error
    header.pop("__metadata__", None)
    return header, 8 + size


def write_file(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Write atomically, tensor after tensor; returns the file's `bytes` and `sha256`. Raises OSError.

    The file: the header's length in 8 bytes, the header in JSON, the tensors one after another.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.kind, "shape": tensor.shape, "data_offsets": (end, end + tensor.bits.nbytes)}
        end += tensor.bits.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # so that the tensors are aligned
    temporary = path.with_name(f".{path.name}.tmp")
    digest = hashlib.sha256()
    try:
        with open(temporary, "wb") as file:
            for part in (len(head).to_bytes(8, "little") + head, *(tensor.bits for tensor in tensors.values())):
                content = part if isinstance(part, bytes) else np.ascontiguousarray(part).data.cast("B")
                digest.update(content)
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return {"bytes": 8 + len(head) + end, "sha256": digest.hexdigest()}
