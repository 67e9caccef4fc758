"""Bundle: the one folder that a model travels in. Opening one reads files and checks them; it runs nothing.

    config.json          ModelConfig
    weights.safetensors  every parameter that is not tied, float32, float16 or bfloat16
    tokenizer.json       the tokenizer it was trained with
    generation.json      its default GenerationOptions
    card.md              what it is, where it comes from, how good it is
    chat_template.jinja  how messages become a prompt; only where the model has one
    special_tokens.json  role -> token, as an imported tokenizer names them (cls_token, ...); only for export
    shortlist.safetensors  the likely translations of every source token (weft.text.shortlist); only where it was learned
    manifest.json        format, Weft's version, task, and size and SHA-256 of every file above; written last
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from weft import __version__, beside
from weft.errors import BundleError, ConfigError, FingerprintError, WeftError
from weft.spec.config import ModelConfig
from weft.spec.decoding import GenerationOptions
from weft.spec.parameters import parameters
from weft.spec.tagged import from_dict
from weft.tensors import Stored, narrow, read_file, read_header, write_file
from weft.text import Tokenizer
from weft.text.shortlist import Shortlist

FORMAT = 1
FILES = ("config.json", "weights.safetensors", "tokenizer.json", "generation.json", "card.md")
CHAT_TEMPLATE = "chat_template.jinja"
SPECIAL_TOKENS = "special_tokens.json"
SHORTLIST = "shortlist.safetensors"
OPTIONAL = (CHAT_TEMPLATE, SPECIAL_TOKENS, SHORTLIST)
"""Files of a bundle where its manifest names them."""
MANIFEST = "manifest.json"
EDITABLE = ("generation.json", "card.md")
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
    family: str | None = None
    """The family it was imported from."""
    chat_template: str | None = None
    roles: dict[str, str] | None = None
    """Role -> token, as an imported tokenizer names them; None where Weft made it, and for bundles of before."""
    has_shortlist: bool = False

    def shortlist(self) -> Shortlist:
        """Of a bundle that has one. Raises BundleError."""
        path = self.path / SHORTLIST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        return Shortlist.from_bytes(content, self.config.vocabulary)

    def tensors(self) -> dict[str, Stored]:
        """Every stored parameter, mapped from the file and checked against the parameter table. Raises BundleError."""
        path = self.path / "weights.safetensors"
        found = read_file(path)
        _check_table(path, self.config, {name: tensor.shape for name, tensor in found.items()})
        return found

    def weights(self) -> dict[str, np.ndarray]:
        """As `tensors`, widened to float32."""
        return {name: tensor.wide() for name, tensor in self.tensors().items()}


# ---------------------------------------------------------------- saving


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary neighbour, flush to disk, rename. Raises OSError and leaves no half file."""
    write_together(path.parent, {path.name: lambda temporary: write_flushed(temporary, content)})


def write_together(folder: Path, writers: Mapping[str, Callable[[Path], Any]]) -> None:
    """Files of a folder, all or none: each writer gets the path of a temporary neighbour; once all are written, and only
    then, they are renamed in that order. Raises OSError."""
    temporary = {name: (folder / name).with_name(f".{Path(name).name}.tmp") for name in writers}
    try:
        for name, write in writers.items():
            write(temporary[name])
        for name, path in temporary.items():
            os.replace(path, folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def write_flushed(path: Path, content: bytes) -> None:
    """Write and wait for the disk. Raises OSError."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def save_bundle(folder: str | Path, config: ModelConfig, weights: Mapping[str, np.ndarray | Stored], tokenizer_json: str,
                generation: Mapping[str, Any], card: str, *, task: str = "translate", store: str = "float32",
                family: str | None = None, chat_template: str | None = None, roles: Mapping[str, str] | None = None) -> Path:
    """Write a bundle, whole or not at all; other files in the folder are left alone, but for the optional ones of a bundle
    before it.

    store: float32, float16 or bfloat16, for arrays; tensors that are Stored already stay as they are.

    Raises BundleError if the weights are not those of the config or do not fit the store, or the disk refuses.
    """
    folder = Path(folder)
    tensors = {name: array if isinstance(array, Stored) else narrow(name, np.asarray(array), store)
               for name, array in weights.items()}
    _check_table(folder, config, {name: tensor.shape for name, tensor in tensors.items()})
    contents = {
        "config.json": _json(config.to_dict()),
        "tokenizer.json": tokenizer_json.encode(),
        "generation.json": _json(dict(generation)),
        "card.md": card.encode(),
    } | ({} if chat_template is None else {CHAT_TEMPLATE: chat_template.encode()}) | (
        {} if roles is None else {SPECIAL_TOKENS: _json(dict(roles))})
    files = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
             for name, content in contents.items()}

    def write_weights(path: Path) -> None:
        files["weights.safetensors"] = write_file(path, tensors)

    def write_manifest(path: Path) -> None:
        origin = {"family": family} if family else {}
        write_flushed(path, _json({"format": FORMAT, "weft": __version__, "task": task, **origin,
                                   "files": {name: files[name] for name in (*FILES, *OPTIONAL) if name in files}}))

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_together(folder, {"weights.safetensors": write_weights,
                                **{name: partial(write_flushed, content=content) for name, content in contents.items()},
                                MANIFEST: write_manifest})
        for name in set(OPTIONAL) - set(contents):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {folder}: {error.strerror}") from error
    return folder


def add_shortlist(bundle: Bundle, shortlist: Shortlist) -> None:
    """Put it into the bundle, in place of one that there is. Raises BundleError."""
    manifest, content = read_json(bundle.path / MANIFEST), shortlist.to_bytes()
    manifest["files"][SHORTLIST] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        write_together(bundle.path, {SHORTLIST: partial(write_flushed, content=content),
                                     MANIFEST: partial(write_flushed, content=_json(manifest))})
    except OSError as error:
        raise BundleError(f"cannot write into the bundle {bundle.path}: {error.strerror}") from error


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


# ---------------------------------------------------------------- opening


def open_bundle(folder: str | Path) -> Bundle:
    """Open and check a bundle. Raises BundleError, ConfigError or FingerprintError with the file at fault."""
    folder = Path(folder)
    _check_files(folder)
    manifest = read_json(folder / MANIFEST)
    _check_format(folder, manifest)
    try:
        config = ModelConfig.from_dict(read_json(folder / "config.json"))
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.json'}: {error}") from error
    files = beside.identities(folder, (*FILES, *OPTIONAL))
    known = beside.recall(folder, files)
    text = _read_text(folder / "tokenizer.json")
    fingerprint = known.get("tokenizer.json", {}).get("fingerprint") or Tokenizer.from_json(text).fingerprint
    if config.tokenizer != fingerprint:
        raise FingerprintError(
            f"{folder}: the model was trained with the tokenizer {config.tokenizer}, but tokenizer.json is "
            f"{fingerprint}; its ids would mean other words. Put the tokenizer of the training run back")
    _check_shapes(folder / "weights.safetensors", config)
    _check_contents(folder, manifest["files"], known)
    if files["weights.safetensors"][0] >= beside.WORTH:
        found = {name: {"sha256": entry["sha256"]} for name, entry in manifest["files"].items()
                 if name in files and name not in EDITABLE}
        found["tokenizer.json"]["fingerprint"] = fingerprint
        if found != known:
            beside.remember(folder, files, found)
    template = _read_text(folder / CHAT_TEMPLATE) if CHAT_TEMPLATE in manifest["files"] else None
    return Bundle(folder, config, text, _read_generation(folder / "generation.json"), _read_text(folder / "card.md"),
                  manifest["task"], manifest.get("family"), template, _read_roles(folder, manifest["files"]),
                  SHORTLIST in manifest["files"])


def find_model(name: str) -> Path:
    """A folder, or a shipped model by its name. Raises BundleError that lists the shipped names."""
    shipped, folder = shipped_models(), Path(name)
    if name and (os.sep in name or (folder / MANIFEST).exists() or (folder.exists() and name not in shipped)):
        return folder
    if name in shipped:
        return shipped[name]
    raise BundleError(f"no model {name!r}: no folder of that name here ({Path.cwd()}), and the shipped models are "
                      f"{', '.join(shipped) or 'none'}")


@cache
def shipped_models() -> dict[str, Path]:
    """Name -> folder of the models inside the installed package, or of the checkout it is installed from."""
    places = [Path(__file__).parent / "models", Path(__file__).parents[2] / "models"]
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
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 ({error}); the file is damaged") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Raises BundleError with the file's name."""
    text = _read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); the file is damaged") from error


def _read_generation(path: Path) -> dict[str, Any]:
    """An owner may edit these, so that a bad key or value is said with the file's name."""
    values = read_json(path)
    try:
        from_dict(GenerationOptions, values)
    except WeftError as error:
        raise ConfigError(f"{path}: {error}") from error
    return values


def _read_roles(folder: Path, files: Mapping[str, Any]) -> dict[str, str] | None:
    if SPECIAL_TOKENS not in files:
        return None
    values = read_json(folder / SPECIAL_TOKENS)
    if not isinstance(values, dict) or not all(isinstance(token, str) for token in values.values()):
        raise BundleError(f"{folder / SPECIAL_TOKENS} must be a table of roles and tokens; the file is damaged")
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
        header = read_header(path)
    except BundleError:
        return
    _check_table(path, config, {name: shape for name, (_, shape) in header.items()})


def _check_contents(folder: Path, files: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Sizes and hashes, every fault at once. It comes last: the checks before it say more.

    Defaults and card are the owner's to edit."""
    names = [name for name in (*FILES, *OPTIONAL) if name not in EDITABLE and (name in FILES or name in files)]
    hashes = {name: facts["sha256"] for name, facts in known.items()}
    faults = [fault for name in names if (fault := _file_fault(folder / name, files.get(name), hashes.get(name)))]
    if faults:
        raise BundleError(f"{folder} is damaged: {'; '.join(faults)}. Copy or train it again")


def _file_fault(path: Path, expected: Any, known: str | None) -> str:
    """known: its SHA-256, if that was found out before."""
    if not isinstance(expected, Mapping) or not isinstance(expected.get("bytes"), int):
        return f"{path.name} is not in the manifest"
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"{path.name} has {size:,} bytes, not {expected['bytes']:,}" + (
            " (truncated)" if size < expected["bytes"] else "")
    if size <= HASHED_BYTES:
        digest = known or hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != expected.get("sha256"):
            return f"{path.name} has SHA-256 {digest[:16]}, not {str(expected.get('sha256'))[:16]}"
    return ""


def _check_table(place: Path, config: ModelConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes against the parameter table; all mismatches at once."""
    wanted = {name: row.shape for name, row in parameters(config).items() if row.tie is None}
    faults = [f"{name} has shape {found[name]}, the config says {shape}" for name, shape in wanted.items()
              if name in found and found[name] != shape]
    faults += [f"{name} {shape} is not in the model" for name, shape in found.items() if name not in wanted]
    faults += [f"{name} is missing, {shape} wanted" for name, shape in wanted.items() if name not in found]
    if faults:
        raise BundleError(f"{place}: the weights do not belong to the config: {'; '.join(faults)}")
