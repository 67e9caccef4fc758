"""M2M100 and NLLB (Fan et al. 2021; NLLB team 2022): mBART with static positions, which begin after the pad id's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import bart
from weft.families.bart import LOPSIDED, SPECIAL, TINY, read_with, write_with
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("m2m_100",)
ARCHITECTURES = {"M2M100ForConditionalGeneration": "language_model"}
PREFIX, IGNORED, rules = bart.PREFIX, bart.IGNORED, bart.rules
DROPPED = (*bart.DROPPED, ("model.*coder.embed_positions.weights", "static positions, computed from the config"))
SIZES = {"m2m100_418M": (12, 1024, 16, 4096), "m2m100_1.2B": (24, 1024, 16, 8192),
         "nllb-200-distilled-600M": (12, 1024, 16, 4096), "nllb-200-1.3B": (24, 1024, 16, 8192),
         "nllb-200-3.3B": (24, 2048, 16, 8192)}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": TINY,
    "untied": {**TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "lopsided": {**TINY, **LOPSIDED},
    "unscaled_gelu": {**TINY, "scale_embedding": False, "activation_function": "gelu"},
    "odd_width": {**TINY, "d_model": 27, "encoder_attention_heads": 3, "decoder_attention_heads": 9, "encoder_layers": 1},
    "pad_is_three": {**TINY, "pad_token_id": 3, "decoder_ffn_dim": 20},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary, width = foreign.get("vocab_size", 128112), foreign.get("d_model", 1024)
    position = c.Sinusoidal(layout="halves", inclusive=True, offset=foreign.get("pad_token_id", 1, least=0) + 1,
                            dimension=width - 1 if width % 2 else None)
    stack = replace(bart.STACK, placement="pre", position=position, embedding_norm=False, final_norm=True)
    return read_with(foreign, head, stack, vocabulary, SPECIAL, bias=False, activation="relu", scaled=True)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "m2m_100", **write_with(config)}
