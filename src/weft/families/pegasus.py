"""PEGASUS (Zhang et al. 2020): for summaries; norms before and at the end, static positions, a bias on the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import bart
from weft.families.bart import LOPSIDED, TINY, read_with, write_with
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("pegasus",)
ARCHITECTURES = {"PegasusForConditionalGeneration": "language_model"}
PREFIX, IGNORED, rules = bart.PREFIX, bart.IGNORED, bart.rules
DROPPED = (*bart.DROPPED, ("model.*coder.embed_positions.weight", "static positions, computed from the config"))
SIZES = {"pegasus-large": (16, 1024, 16, 4096)}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": {**TINY, "activation_function": "relu", "scale_embedding": True},
    "untied": {**TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "lopsided": {**TINY, **LOPSIDED, "scale_embedding": True},
    "unscaled_gelu": {**TINY, "activation_function": "gelu"},
    "one_layer": {**TINY, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 67, "activation_function": "silu"},
}
STACK = replace(bart.STACK, placement="pre", position=c.Sinusoidal(layout="halves"), embedding_norm=False, final_norm=True)


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    return read_with(foreign, head, STACK, foreign.get("vocab_size", 50265), {"pad": 0, "eos": 1, "start": 0})


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "pegasus", **write_with(config)}
