"""Tensors of a Hugging Face checkpoint: from its files to ours by the rules of its family, and back. Safetensors only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from weft.bundle import Bundle, read_json
from weft.errors import BundleError
from weft.families.family import Family
from weft.families.rules import Rule, Same
from weft.spec import config as c
from weft.spec.parameters import Parameter, parameters
from weft.tensors import STORES, Stored, read_file

INDEX = "model.safetensors.index.json"
MOST_SHOWN = 1 << 26
"""Elements that are laid out in memory to find the shape that a tensor should have."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")

# ---------------------------------------------------------------- in


def read_weights(folder: Path, family: Family, config: c.ModelConfig, stored: Mapping[str, Stored]
                 ) -> tuple[dict[str, Stored], list[tuple[str, str]]]:
    """Our tensors, and (name, reason) of foreign ones that are dropped. Raises BundleError that lists every fault."""
    foreign, given = _normalised(folder, stored, family, config)
    table = parameters(config)
    found: dict[str, Stored] = {}
    faults: list[str] = []
    used: set[str] = set()
    copies: list[tuple[str, str]] = []
    origin: dict[str, str] = {}
    """The foreign tensor that one of ours was read from."""
    for rule in family.rules(config):
        if all(name in table and table[name].tie for name in rule.ours):
            copies += [(name, origin[table[ours].tie or ""]) for ours, name in zip(rule.ours, rule.theirs, strict=True)
                       if name in foreign and name not in used and table[ours].tie in origin]
            used.update(name for name in rule.theirs if name in foreign)
            continue
        rule = rule.found_in(foreign)
        missing = [name for name in rule.theirs if name not in foreign]
        used.update(name for name in (*rule.theirs, *rule.copies) if name in foreign)
        copies += [(name, rule.theirs[0]) for name in rule.copies]
        faults += [f"{name} is missing" for name in missing]
        if not missing:
            origin |= dict.fromkeys(rule.ours, rule.theirs[0])
            found |= _apply(rule, [foreign[name] for name in rule.theirs], table, faults)
    faults += [f"{name} differs from {other}, which config.json says it is tied to (tie_word_embeddings)"
               for name, other in copies if not foreign[name].equals(foreign[other])]
    dropped = [(given[name], f"tied to {given[other]}") for name, other in copies]
    for name, tensor in foreign.items():
        reason = next((why for pattern, why in family.DROPPED if fnmatchcase(name, pattern)), "")
        if name not in used and reason:
            dropped.append((given[name], reason))
        elif name not in used:
            faults.append(f"{given[name]} {list(tensor.shape)} is not in the model")
    if faults:
        raise BundleError(f"{folder}: the tensors do not belong to config.json: {'; '.join(faults)}")
    broken = sorted(name for name in used if foreign[name].has_nan())
    if broken:
        raise BundleError(f"{folder}: {', '.join(broken)} {'hold' if len(broken) > 1 else 'holds'} values that are no numbers "
                          f"(NaN), so that every answer would be none. The file is damaged, or its training failed; fetch it "
                          f"again")
    return {name: found[name] for name, row in table.items() if row.tie is None}, dropped


def _apply(rule: Rule, theirs: list[Stored], table: Mapping[str, Parameter], faults: list[str]) -> dict[str, Stored]:
    """Our tensors of one rule; faults of kind and shape are added to `faults`."""
    odd = [f"{name} is stored as {tensor.kind}, not as {', '.join(STORES)}"
           for name, tensor in zip(rule.theirs, theirs, strict=True) if not tensor.is_weight]
    if odd:
        faults += odd
        return {}
    kinds = {tensor.kind for tensor in theirs}
    kind = kinds.pop() if len(kinds) == 1 else "F32"
    arrays = [tensor.bits if tensor.kind == kind else tensor.wide() for tensor in theirs]
    wanted = [table[name].shape for name in rule.ours]
    try:
        made = rule.operation.read(arrays)
    except (IndexError, ValueError):  # of a number of elements that cannot be cut like this
        made = []
    if [array.shape for array in made] != wanted:
        faults += [f"{name} has shape {list(tensor.shape)}, config.json says {expected}"
                   for name, tensor, expected in zip(rule.theirs, theirs, _expected(rule, wanted), strict=True)]
        return {}
    return {name: Stored(array, kind) for name, array in zip(rule.ours, made, strict=True)}


def _expected(rule: Rule, wanted: list[tuple[int, ...]]) -> list[str]:
    """The shapes that the rule's foreign tensors should have; where it would take much memory to find out, what they become."""
    if isinstance(rule.operation, Same):
        return [str(list(shape)) for shape in wanted]
    if sum(map(math.prod, wanted)) > MOST_SHOWN:
        return [f"that it gives {' and '.join(str(list(shape)) for shape in wanted)}"] * len(rule.theirs)
    return [str(list(array.shape)) for array in rule.operation.write([np.empty(shape, np.uint8) for shape in wanted])]


def read_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of the checkpoint's safetensors file or files, mapped; also those that are no weights. Raises BundleError."""
    index = folder / INDEX
    if index.is_file():
        return _read_shards(folder, index)
    if (folder / "model.safetensors").is_file():
        return read_file(folder / "model.safetensors", others=True)
    way_out = "model.save_pretrained(folder, safe_serialization=True) in transformers"
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise BundleError(f"{folder} has its weights in {', '.join(pickles[:3])}, which Weft does not open: such files can "
                          f"run code. Where you trust them, convert: {way_out}")
    raise BundleError(f"{folder} has no model.safetensors. If the original has pickle weights (.bin) only, which can run code "
                      f"and which Weft neither opens nor fetches, convert them where you trust them: {way_out}")


def _read_shards(folder: Path, index: Path) -> dict[str, Stored]:
    """Tensors of the files that the index names. A name that leads out of the folder is none of its files."""
    values = read_json(index)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names:
        raise BundleError(f"{index} has no weight_map; the file is damaged")
    bad = sorted({str(shard) for shard in names.values() if not isinstance(shard, str) or Path(shard).name != shard
                  or not (folder / shard).is_file()})
    if bad:
        raise BundleError(f"{index} names files that are not in {folder}: {', '.join(bad)}. Download them too, or correct "
                          f"the index")
    found: dict[str, Stored] = {}
    for shard in sorted(set(names.values())):
        tensors = read_file(folder / shard, others=True)
        twice = sorted(set(found) & set(tensors))
        if twice:
            raise BundleError(f"{folder}: {', '.join(twice)} come in {shard} and in another file too; which of them counts "
                              f"is not said")
        found |= tensors
    missing = sorted(set(names) - set(found))
    if missing:
        raise BundleError(f"{folder}: the index names tensors that are in no file: {', '.join(missing)}. The files are not "
                          f"those of the index; download them again")
    return found


def _normalised(folder: Path, tensors: Mapping[str, Stored], family: Family, config: c.ModelConfig
                ) -> tuple[dict[str, Stored], dict[str, str]]:
    """Tensors by the names that the family's rules have, and the name of each in the file: there may be old names of norms,
    and the base model's tensors without their prefix."""
    renamed: dict[str, str] = {}
    for given in tensors:
        name = given
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith(old):
                name = name.removesuffix(old) + new
        if name in renamed:
            raise BundleError(f"{folder} has {name} twice, once by its old name (.gamma or .beta)")
        renamed[name] = given
    prefix = family.PREFIX
    if prefix and not any(name.startswith(prefix) for name in renamed):
        theirs = {name for rule in family.rules(config) for name in rule.theirs}
        renamed = {name if name in theirs else prefix + name: given for name, given in renamed.items()}
    return {name: tensors[given] for name, given in renamed.items()}, renamed


# ---------------------------------------------------------------- out


def write_weights(family: Family, bundle: Bundle) -> dict[str, Stored]:
    """Foreign tensors of a bundle; tied ones once, as transformers saves them."""
    ours = bundle.tensors()
    base = family.PREFIX if isinstance(bundle.config.head, c.EmbeddingHead) else ""  # a model without a head has no prefix
    found: dict[str, Stored] = {}
    for rule in written(family, bundle.config):
        kinds = {ours[name].kind for name in rule.ours}
        kind = kinds.pop() if len(kinds) == 1 else "F32"
        arrays = [ours[name].bits if ours[name].kind == kind else ours[name].wide() for name in rule.ours]
        made = rule.operation.write(arrays)
        found |= {name.removeprefix(base): Stored(array, kind) for name, array in zip(rule.theirs, made, strict=True)}
    return found


def written(family: Family, config: c.ModelConfig) -> list[Rule]:
    """The rules of tensors that a checkpoint holds: not those that are tied to another."""
    table = parameters(config)
    return [rule for rule in family.rules(config) if not all(table[name].tie for name in rule.ours)]
