"""Bundle: the one folder that a model travels in. Opening one reads files and checks them; it runs nothing.

    config.json          ModelConfig
    weights.safetensors  every parameter that is not tied, float32, float16 or bfloat16
    tokenizer.json       the tokenizer it was trained with
    generation.json      its default GenerationOptions
    card.md              what it is, where it comes from, how good it is
    manifest.json        format, Weft's version, task, and size and SHA-256 of every file above; written last
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from weft import __version__
from weft.errors import BundleError, ConfigError, FingerprintError, WeftError
from weft.spec.config import ModelConfig
from weft.spec.decoding import GenerationOptions
from weft.spec.parameters import parameters
from weft.spec.tagged import from_dict
from weft.text import Tokenizer

FORMAT = 1
FILES = ("config.json", "weights.safetensors", "tokenizer.json", "generation.json", "card.md")
MANIFEST = "manifest.json"
EDITABLE = ("generation.json", "card.md")
STORES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""How weights may be stored, and what safetensors calls it."""
HASHED_BYTES = 256 << 20
"""Files above this size are checked by their size only, so that opening a large model stays quick."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; weights are read when asked for."""

    path: Path
    config: ModelConfig
    tokenizer_json: str
    generation: dict[str, Any]
    card: str
    task: str

    def weights(self) -> dict[str, np.ndarray]:
        """Every stored parameter as float32, checked against the parameter table. Raises BundleError."""
        path = self.path / "weights.safetensors"
        try:
            with safe_open(path, framework="numpy"):  # its checks of header and offsets; NumPy has no bfloat16
                arrays = _unpacked(path)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read as weights: {error}") from error
        _check_weights(path, self.config, arrays)
        return arrays


# ---------------------------------------------------------------- saving


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary neighbour, flush to disk, rename. Raises OSError and leaves no half file."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def save_bundle(folder: str | Path, config: ModelConfig, weights: Mapping[str, np.ndarray], tokenizer_json: str,
                generation: Mapping[str, Any], card: str, *, task: str = "translate", store: str = "float32") -> Path:
    """Write a bundle; other files in the folder are left alone. store: float32, float16 or bfloat16.

    Raises BundleError if the weights are not those of the config or do not fit the store, or the disk refuses.
    """
    folder = Path(folder)
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    _check_weights(folder, config, arrays)
    contents = {
        "config.json": _json(config.to_dict()),
        "weights.safetensors": _packed(arrays, store),
        "tokenizer.json": tokenizer_json.encode(),
        "generation.json": _json(dict(generation)),
        "card.md": card.encode(),
    }
    manifest = {"format": FORMAT, "weft": __version__, "task": task, "files": {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (contents | {MANIFEST: _json(manifest)}).items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {folder}: {error.strerror}") from error
    return folder


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


# ---------------------------------------------------------------- the weights file


def _packed(arrays: Mapping[str, np.ndarray], store: str) -> bytes:
    """A safetensors file: the header's length in 8 bytes, the header in JSON, the tensors one after another."""
    if store not in STORES:
        raise BundleError(f"weights cannot be stored as {store!r}; use {', '.join(STORES)}")
    header: dict[str, Any] = {}
    parts, end = [], 0
    for name, array in arrays.items():
        parts.append(_narrowed(name, array, store).tobytes())
        header[name] = {"dtype": STORES[store], "shape": array.shape, "data_offsets": (end, end + len(parts[-1]))}
        end += len(parts[-1])
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # so that the tensors are aligned
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def _unpacked(path: Path) -> dict[str, np.ndarray]:
    """Every tensor as float32. The file is mapped, so that only the result takes memory."""
    data = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    odd = [f"{name} is {entry['dtype']}" for name, entry in header.items() if entry["dtype"] not in STORES.values()]
    if odd:
        raise BundleError(f"{path}: weights are stored as {', '.join(STORES)}, but {'; '.join(odd[:8])}")
    return {name: _widened(data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
                           entry["dtype"]).reshape(entry["shape"]) for name, entry in header.items()}


def _narrowed(name: str, array: np.ndarray, store: str) -> np.ndarray:
    """Little-endian values of `store`. A value too large for it would come back as infinity: BundleError."""
    wide = np.ascontiguousarray(array, dtype="<f4")
    if store == "bfloat16":
        bits = wide.view("<u4")
        rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype("<u2")  # to nearest, ties to even
        return np.where(np.isnan(wide), np.uint16(0x7FC0), rounded)
    with np.errstate(over="ignore"):
        narrow = wide.astype("<f2" if store == "float16" else "<f4")
    if (np.isinf(narrow) & np.isfinite(wide)).any():
        raise BundleError(f"{name} holds {np.abs(wide[np.isfinite(wide)]).max():g}, above the largest {store} (65,504); "
                          f"store the weights as bfloat16 or float32")
    return narrow


def _widened(raw: np.ndarray, kind: str) -> np.ndarray:
    if kind == "BF16":  # the upper half of a float32
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view("<f2" if kind == "F16" else "<f4").astype(np.float32)


# ---------------------------------------------------------------- opening


def open_bundle(folder: str | Path) -> Bundle:
    """Open and check a bundle. Raises BundleError, ConfigError or FingerprintError with the file at fault."""
    folder = Path(folder)
    _check_files(folder)
    manifest = _read_json(folder / MANIFEST)
    _check_format(folder, manifest)
    try:
        config = ModelConfig.from_dict(_read_json(folder / "config.json"))
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.json'}: {error}") from error
    text = _read_text(folder / "tokenizer.json")
    fingerprint = Tokenizer.from_json(text).fingerprint
    if config.tokenizer != fingerprint:
        raise FingerprintError(
            f"{folder}: the model was trained with the tokenizer {config.tokenizer}, but tokenizer.json is "
            f"{fingerprint}; its ids would mean other words. Put the tokenizer of the training run back")
    _check_shapes(folder / "weights.safetensors", config)
    _check_contents(folder, manifest["files"])
    return Bundle(folder, config, text, _read_generation(folder / "generation.json"), _read_text(folder / "card.md"),
                  manifest["task"])


def find_model(name: str) -> Path:
    """A folder, or a shipped model by its name. Raises BundleError that lists the shipped names."""
    if name and (Path(name).exists() or os.sep in name):
        return Path(name)
    shipped = shipped_models()
    if name in shipped:
        return shipped[name]
    raise BundleError(f"no model {name!r}: no folder of that name here ({Path.cwd()}), and the shipped models are "
                      f"{', '.join(shipped) or 'none'}")


@cache
def shipped_models() -> dict[str, Path]:
    """Name -> folder of the models inside the installed package, or of the checkout it is installed from."""
    places = [Path(str(files("weft"))) / "models", Path(__file__).parents[2] / "models"]
    found = {path.name: path for place in reversed(places) if place.is_dir()
             for path in place.iterdir() if (path / MANIFEST).exists()}
    return dict(sorted(found.items()))


def _check_files(folder: Path) -> None:
    if not folder.exists():
        raise BundleError(f"no folder {folder}; the current folder is {Path.cwd()}")
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; a bundle is a folder")
    missing = [name for name in (*FILES, MANIFEST) if not (folder / name).is_file()]
    if not missing:
        return
    hint = " It holds a training run that has not finished: go on with it by the same weft train command." \
        if (folder / "run" / "options.json").exists() else ""
    hint = hint or (" It looks like a Hugging Face checkpoint, which has to be imported first."
                    if (folder / "model.safetensors").exists() else "")
    raise BundleError(f"{folder} is no bundle: it lacks {', '.join(missing)}.{hint}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 ({error}); the file is damaged") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _read_json(path: Path) -> Any:
    text = _read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); the file is damaged") from error


def _read_generation(path: Path) -> dict[str, Any]:
    """An owner may edit these, so that a bad key or value is said with the file's name."""
    values = _read_json(path)
    try:
        from_dict(GenerationOptions, values)
    except WeftError as error:
        raise ConfigError(f"{path}: {error}") from error
    return values


def _check_format(folder: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise BundleError(f"{folder / MANIFEST} has format {found!r}; this Weft reads format {FORMAT}")
    lacking = [key for key, kind in (("task", str), ("files", dict)) if not isinstance(manifest.get(key), kind)]
    if lacking:
        raise BundleError(f"{folder / MANIFEST} lacks {' and '.join(lacking)}; the file is damaged")


def _check_shapes(path: Path, config: ModelConfig) -> None:
    """Tensors against the config by the file's header alone; a file that does not open is for the size check."""
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return
    _check_table(path, config, found)


def _check_contents(folder: Path, files: Mapping[str, Any]) -> None:
    """Sizes and hashes, every fault at once. It comes last: the checks before it say more.

    Defaults and card are the owner's to edit."""
    faults = [fault for name in FILES if name not in EDITABLE and (fault := _file_fault(folder / name, files.get(name)))]
    if faults:
        raise BundleError(f"{folder} is damaged: {'; '.join(faults)}. Copy or train it again")


def _file_fault(path: Path, expected: Any) -> str:
    if not isinstance(expected, Mapping) or not isinstance(expected.get("bytes"), int):
        return f"{path.name} is not in the manifest"
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"{path.name} has {size:,} bytes, not {expected['bytes']:,}" + (
            " (truncated)" if size < expected["bytes"] else "")
    if size <= HASHED_BYTES:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != expected.get("sha256"):
            return f"{path.name} has SHA-256 {digest[:16]}, not {str(expected.get('sha256'))[:16]}"
    return ""


def _check_weights(place: Path, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> None:
    _check_table(place, config, {name: array.shape for name, array in arrays.items()})


def _check_table(place: Path, config: ModelConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes against the parameter table; all mismatches at once."""
    wanted = {name: row.shape for name, row in parameters(config).items() if row.tie is None}
    faults = [f"{name} has shape {found[name]}, the config says {shape}" for name, shape in wanted.items()
              if name in found and found[name] != shape]
    faults += [f"{name} {shape} is not in the model" for name, shape in found.items() if name not in wanted]
    faults += [f"{name} is missing, {shape} wanted" for name, shape in wanted.items() if name not in found]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise BundleError(f"{place}: the weights do not belong to the config: {'; '.join(faults[:8])}{more}")
