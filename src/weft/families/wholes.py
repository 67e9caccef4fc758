"""Models that read more than text, around the text model of a family: its part of config.json and of the tensors.

The names are those of transformers' classes that put a language model behind something that reads images (LLaVA, Liu et al.
2023). It knows no family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from weft.errors import ConfigError, UnknownNameError

Tensor = TypeVar("Tensor")


@dataclass(frozen=True)
class Whole:
    """What is around a text model, of which config.json speaks in `text_config`.

    model_type: of the text model. architectures: the whole's class -> that of its text model. keys: of config.json, about
    what is not text. passed_over: keys of `text_config` that the text model by itself heeds, and the whole's class does not.
    """

    model_type: str
    architectures: Mapping[str, str]
    keys: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


PREFIXES = (("language_model.model.", "model."), ("model.language_model.", "model."), ("language_model.lm_head.", "lm_head."),
            ("lm_head.", "lm_head."))
"""How names of the text model's tensors begin in the whole, by several versions of transformers, and by itself."""
OTHERS = tuple(f"{prefix}{part}." for prefix in ("", "model.") for part in ("vision_tower", "multi_modal_projector"))
DROPPED = "reads images, which Weft does not do"


def text_config(values: Mapping[str, Any], whole: Whole) -> dict[str, Any]:
    """The text model's config.json. Keys beside `text_config` are its own too, where it does not say them itself; of
    sharing embeddings the whole decides. Raises ConfigError or UnknownNameError."""
    own = values.get("text_config")
    if not isinstance(own, dict):
        raise ConfigError(f"the checkpoint's config.json is of {values['model_type']}, which reads more than text, but "
                          f"text_config, which tells of the part that reads text, is {own!r:.60}")
    kind = own.get("model_type", whole.model_type)
    if kind != whole.model_type:
        raise ConfigError(f"the checkpoint's config.json has text_config.model_type = {kind!r:.60}; within "
                          f"{values['model_type']} Weft reads {whole.model_type}")
    for key in whole.passed_over:
        if own.get(key) is not None:
            raise ConfigError(f"the checkpoint's config.json has text_config.{key} = {own[key]!r:.60}, which transformers "
                              f"passes over in {values['model_type']} but not in {kind}; make it null to have what it computes")
    named = values.get("architectures") or list(whole.architectures)[:1]
    if not isinstance(named, list) or str(named[0]) not in whole.architectures:
        raise UnknownNameError(f"architecture of {values['model_type']}", str(named[0] if isinstance(named, list) else named),
                               whole.architectures)
    beside = {key: value for key, value in values.items() if key not in (*whole.keys, "text_config")}
    return beside | own | {"model_type": kind, "architectures": [whole.architectures[named[0]]],
                           "tie_word_embeddings": beside.get("tie_word_embeddings", True)}


def text_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """The tensors by the text model's own names, and (name, reason) of those of what is around it. Others stay as they are."""
    found, dropped = {}, []
    for name, tensor in tensors.items():
        if name.startswith(OTHERS):
            dropped.append((name, DROPPED))
            continue
        theirs, ours = next((pair for pair in PREFIXES if name.startswith(pair[0])), ("", ""))
        found[ours + name.removeprefix(theirs)] = tensor
    return found, dropped
