"""Safetensors files, mapped: numbers stay as they are stored until someone needs them wider.

NumPy has no bfloat16, so such tensors are carried as the 16-bit integers of their bits. What only moves numbers
(import rules) works on any kind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from weft.errors import BundleError

STORES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""How weights may be stored, and what safetensors calls it."""
_BITS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INFINITY = {"F16": 0x7C00, "BF16": 0x7F80}
CHUNK = 1 << 18
"""Numbers looked at together, so few that they stay in the processor's cache."""
MOST_HEADER = 32 << 20
"""Bytes of a header: room for hundreds of thousands of tensors, and little enough to read from a file that lies."""


@dataclass(frozen=True)
class Stored:
    """A tensor as a file holds it. kind: F32, F16 or BF16, whose `bits` are uint16; any other is no weight, and its `bits`
    have its shape only."""

    bits: np.ndarray
    kind: str

    @property
    def is_weight(self) -> bool:
        return self.kind in _BITS

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    def equals(self, other: Stored) -> bool:
        """Whether both hold the same numbers, in whatever kinds. Little memory is taken."""
        if not (self.is_weight and other.is_weight) or self.shape != other.shape:
            return False
        return all(np.array_equal(one, two) for one, two in zip(self._parts(), other._parts(), strict=True))

    def _parts(self) -> Iterator[np.ndarray]:
        """CHUNK numbers at a time, float32."""
        flat = np.ravel(self.bits)
        return (Stored(flat[start : start + CHUNK], self.kind).wide() for start in range(0, len(flat), CHUNK))

    def has_nan(self) -> bool:
        """Whether a number of it is none: its exponent full, its fraction not empty. Little memory is taken."""
        wide = self.kind == "F32"
        kind, magnitude, infinity = ("<u4", 0x7FFFFFFF, 0x7F800000) if wide else ("<u2", 0x7FFF, _INFINITY[self.kind])
        flat = np.ravel(self.bits).view(kind)
        return any(int((flat[start : start + CHUNK] & magnitude).max()) > infinity for start in range(0, len(flat), CHUNK))

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


def read_file(path: Path, *, others: bool = False) -> dict[str, Stored]:
    """Every tensor, mapped from the file. others: those of kinds that are no weights come too, without their numbers.

    Raises BundleError for damage and, unless `others`, for kinds that are no weights."""
    header, start = _header(path)
    odd = [f"{name} is {entry['dtype']}" for name, entry in header.items() if entry["dtype"] not in _BITS]
    if odd and not others:
        raise BundleError(f"{path}: weights are stored as {', '.join(STORES)}, but {'; '.join(odd[:8])}")
    data = np.memmap(path, np.uint8, "r")
    try:
        return {name: _stored(data[start:], entry) for name, entry in header.items()}
    except ValueError as error:  # more dimensions, or larger ones, than NumPy has
        raise BundleError(f"{path} cannot be read as weights: a tensor's shape is beyond any model ({error}); the file is "
                          f"damaged") from error


def _stored(data: np.ndarray, entry: Mapping[str, Any]) -> Stored:
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _BITS:
        return Stored(np.broadcast_to(np.uint8(0), shape), kind)
    return Stored(data[begin:end].view(_BITS[kind]).reshape(shape), kind)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header without its metadata, and where the tensors begin. The library checks sizes and offsets first."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MOST_HEADER:
                raise ValueError(f"its header would have {size:,} bytes, above the limit of {MOST_HEADER:,}")
            with safe_open(path, framework="numpy"):
                pass
            header = json.loads(file.read(size), object_pairs_hook=_named_once)
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as weights: {error}. It is damaged, incomplete or no safetensors file; copy "
                          f"or download it again") from error
    header.pop("__metadata__", None)
    return header, 8 + size


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a name that comes twice: readers would differ on which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"its header has {next(name for name in names if names.count(name) > 1)!r:.80} twice")
    return found


def write_file(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Write tensor after tensor; returns the file's `bytes` and `sha256`. Raises OSError.

    A file that is there is replaced, not changed: it may be mapped.
    The file: the header's length in 8 bytes, the header in JSON, the tensors one after another.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.kind, "shape": tensor.shape, "data_offsets": (end, end + tensor.bits.nbytes)}
        end += tensor.bits.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # so that the tensors are aligned
    digest = hashlib.sha256()
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        for part in (len(head).to_bytes(8, "little") + head, *(tensor.bits for tensor in tensors.values())):
            content = part if isinstance(part, bytes) else np.ascontiguousarray(part).data.cast("B")
            digest.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": 8 + len(head) + end, "sha256": digest.hexdigest()}
