"""mBART and mBART-50 (Liu et al. 2020; Tang et al. 2020): BART for many languages, with norms before and at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import bart
from weft.families.bart import LOPSIDED, SPECIAL, TINY, read_with, write_with
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("mbart",)
ARCHITECTURES = {"MBartForConditionalGeneration": "language_model", "MBartForSequenceClassification": "classification"}
PREFIX, DROPPED, IGNORED, rules = bart.PREFIX, bart.DROPPED, bart.IGNORED, bart.rules
SIZES = {"mbart-large-cc25": (12, 1024, 16, 4096), "mbart-large-50": (12, 1024, 16, 4096)}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": {**TINY, "scale_embedding": True},
    "untied": {**TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "lopsided": {**TINY, **LOPSIDED, "scale_embedding": True},
    "relu": {**TINY, "activation_function": "relu", "max_position_embeddings": 33},
    "silu_one_layer": {**TINY, "activation_function": "silu", "decoder_layers": 1, "vocab_size": 67,
                       "decoder_start_token_id": 9},
}
STACK = replace(bart.STACK, placement="pre", final_norm=True)


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    config = read_with(foreign, head, STACK, foreign.get("vocab_size", 50265), SPECIAL)
    if head == "classification" and config.special.eos is not None:  # the decoder begins with the text's own last token
        config = replace(config, special=replace(config.special, start=config.special.eos))
    return config


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "mbart", **write_with(config)}
