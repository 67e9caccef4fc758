"""Marian (Junczys-Dowmunt et al. 2018) as in OPUS-MT (Tiedemann and Thottingal 2020): the Transformer of 2017.

Norms after, static positions (all sines before all cosines), a bias on the logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import bart
from weft.families.bart import LOPSIDED, TINY, read_with, write_with
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("marian",)
ARCHITECTURES = {"MarianMTModel": "language_model"}
PREFIX, IGNORED, rules = bart.PREFIX, bart.IGNORED, bart.rules
DROPPED = (*bart.DROPPED, ("model.*coder.embed_positions.weight", "static positions, computed from the config"))
SIZES = {"opus-mt": (6, 512, 8, 2048), "opus-mt-tc-big": (6, 1024, 16, 4096)}
_TINY = {**TINY, "decoder_start_token_id": 0}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": {**_TINY, "activation_function": "swish", "scale_embedding": True},
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "own_source": {**_TINY, "share_encoder_decoder_embeddings": False, "activation_function": "relu"},
    "nothing_shared": {**_TINY, "share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    "lopsided": {**_TINY, **LOPSIDED, "scale_embedding": True},
    "start_not_pad": {**_TINY, "decoder_start_token_id": 7, "encoder_layers": 1, "vocab_size": 67},
}
STACK = replace(bart.STACK, position=c.Sinusoidal(layout="halves"), embedding_norm=False)


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary = foreign.get("vocab_size", 58101)
    foreign.expect("decoder_vocab_size", vocabulary)
    tied = "all" if foreign.get("share_encoder_decoder_embeddings", True) else "target"
    pad = foreign.get("pad_token_id", 58100, least=0)
    return read_with(foreign, head, STACK, vocabulary, {"pad": 58100, "eos": 0, "start": pad}, tied=tied)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "marian", **write_with(config), "share_encoder_decoder_embeddings": config.embedding.sharing == "all",
            "decoder_vocab_size": config.vocabulary}
