"""mT5 (Xue et al. 2021): T5 1.1 for a hundred languages. The input of the head is never scaled."""

from __future__ import annotations

from typing import Any

from weft.families import t5
from weft.families.foreign import ForeignConfig
from weft.families.t5 import TINY, V1_1, read_with, write_with
from weft.spec import config as c

MODEL_TYPES = ("mt5",)
ARCHITECTURES = {"MT5ForConditionalGeneration": "language_model", "MT5ForSequenceClassification": "classification"}
PREFIX, DROPPED, rules, settle = t5.PREFIX, t5.DROPPED, t5.rules, t5.settle
IGNORED = (*t5.IGNORED, "scale_decoder_outputs")
SIZES = {"mt5-small": (8, 512, 6, 1024), "mt5-base": (12, 768, 12, 2048), "mt5-large": (24, 1024, 16, 2816),
         "mt5-xl": (24, 2048, 32, 5120), "mt5-xxl": (24, 4096, 64, 10240)}
_TINY = {**TINY, **V1_1}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "odd_head_lopsided": {**_TINY, "d_kv": 7, "num_heads": 3, "num_layers": 3, "num_decoder_layers": 1, "vocab_size": 53},
    "relu": {**_TINY, "feed_forward_proj": "relu", "relative_attention_max_distance": 6},
    "gated_silu": {**_TINY, "feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 6},
    "wide_buckets": {**_TINY, "relative_attention_num_buckets": 32, "layer_norm_epsilon": 1e-3, "d_ff": 20},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    return read_with(foreign, head, foreign.get("vocab_size", 250112), tied=foreign.get("tie_word_embeddings", True),
                     scaled=False, window=1024, layers=8, heads=6, size=1024, feed_forward="gated-gelu")


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "mt5", **write_with(config), "tie_word_embeddings": config.embedding.sharing == "all"}
