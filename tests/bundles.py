"""Small random models of every family, as bundles and as checkpoints, made without torch or transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from weft.bundle import open_bundle, save_bundle
from weft.convert import HEAD_TASKS, TASKS, export_bundle
from weft.families.family import families
from weft.families.foreign import ForeignConfig
from weft.spec import config as c
from weft.spec.parameters import parameters
from weft.text import Tokenizer

FAMILIES = dict(families())
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WORDS = 48


def tokenizer(around: bool = False, words: int = WORDS) -> Tokenizer:
    """Words w0, w1, ...; around: <s> before and </s> after a text."""
    names = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *(f"w{i}" for i in range(words - 5))]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(names[:5])
    if around:
        made.post_processor = tokenizers.processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return Tokenizer(made)


def values(name: str, head: str = "", **changes: Any) -> dict[str, Any]:
    """config.json of a family's plain example, by default with its first architecture."""
    family = FAMILIES[name]
    kinds = family.ARCHITECTURES
    architecture = next(one for one, kind in kinds.items() if kind == (head or next(iter(kinds.values()))))
    example = next(iter(family.EXAMPLES.values()))
    return {"model_type": family.MODEL_TYPES[0], "architectures": [architecture], **SPECIAL, **example, **changes}


def bundle(folder: Path, name: str, head: str = "", around: bool = False, **changes: Any) -> Path:
    """A bundle of a family's plain example, with random weights and a tokenizer of words."""
    found = values(name, head, **changes)
    family, words = FAMILIES[name], tokenizer(around)
    config = family.read_config(ForeignConfig(found), family.ARCHITECTURES[found["architectures"][0]])
    prefix, suffix = words.around
    special = replace(config.special, prefix=prefix, suffix=suffix, mask=4, unk=3)
    config = replace(config, tokenizer=words.fingerprint, special=special)
    rng = np.random.default_rng(0)
    weights = {key: 0.3 * rng.standard_normal(row.shape).astype(np.float32) for key, row in parameters(config).items()
               if row.tie is None}
    task = TASKS[config.kind] if isinstance(config.head, c.LanguageModelHead) else HEAD_TASKS[config.head.type]
    return save_bundle(folder, config, weights, words.to_json(), {}, f"# {name}\n", task=task, family=name)


def checkpoint(folder: Path, name: str, head: str = "", **changes: Any) -> Path:
    """A checkpoint in that family's format."""
    return export_bundle(open_bundle(bundle(folder / "made", name, head, **changes)), folder / "hf")


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; those that become ... are left out."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))
