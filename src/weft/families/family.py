"""What a family is: the recipe of one published architecture. One module each; the file name is the registry.

A family module that speaks a foreign format defines what `Family` lists. It says nothing of files, tokenizers or torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from weft.errors import UnknownNameError
from weft.families.foreign import ForeignConfig
from weft.families.rules import Rule
from weft.families.wholes import Whole
from weft.spec import config as c


class Family(Protocol):
    """A family module.

    MODEL_TYPES: the `model_type` values it reads; it writes the first unless the config says otherwise.
    ARCHITECTURES: foreign class -> kind of head (c.Head's `type`), the default first.
    PREFIX: what a class with a head puts before the names of the base model's tensors; "" if nothing.
    DROPPED: (pattern, reason) of foreign tensors that are not kept.
    EXAMPLES: name -> keyword arguments of a small foreign config; the first is the plain one, the others are odd.

    A family whose config.json leaves open what its tensors tell has `settle(config, names, same)` too: the config for a
    checkpoint with tensors of these names, of which same(name, other) says whether they are equal. One whose models stand
    within others that read more than text has `WHOLES`: their `model_type` -> weft.families.wholes.Whole.
    """

    MODEL_TYPES: Sequence[str]
    ARCHITECTURES: Mapping[str, str]
    PREFIX: str
    DROPPED: Sequence[tuple[str, str]]
    EXAMPLES: Mapping[str, Mapping[str, Any]]

    def read_config(self, foreign: ForeignConfig, head: str) -> c.ModelConfig: ...

    def write_config(self, config: c.ModelConfig) -> dict[str, Any]:
        """The foreign config.json, with model_type, but for `architectures`."""
        ...

    def rules(self, config: c.ModelConfig) -> Iterable[Rule]: ...


def settle(family: Family, config: c.ModelConfig, names: Collection[str], same: Callable[[str, str], bool]) -> c.ModelConfig:
    """The config of a checkpoint with these tensors."""
    return family.settle(config, names, same) if hasattr(family, "settle") else config


def families() -> Iterator[tuple[str, Family]]:
    """(name, module) of every family that speaks a foreign format."""
    for info in pkgutil.iter_modules(importlib.import_module("weft.families").__path__):
        module: Any = importlib.import_module(f"weft.families.{info.name}")
        if hasattr(module, "read_config"):
            yield info.name, module


def find_family(model_type: str) -> tuple[str, Family]:
    """The family that reads this `model_type`, or the text model within it. Raises UnknownNameError with the nearest."""
    known: dict[str, tuple[str, Family]] = {}
    for name, module in families():
        known |= dict.fromkeys([*module.MODEL_TYPES, *wholes(module)], (name, module))
    if model_type not in known:
        raise UnknownNameError("model_type", model_type, known)
    return known[model_type]


def wholes(family: Family) -> Mapping[str, Whole]:
    """`model_type` -> what is around the family's model in such checkpoints."""
    found: Mapping[str, Whole] = getattr(family, "WHOLES", {})
    return found
