"""Qwen 3 (Yang et al. 2025), dense: Qwen 2 with a norm on every query and key head instead of biases."""

from __future__ import annotations

from typing import Any

from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.families.qwen2 import read_windows, write_windows
from weft.spec import config as c

MODEL_TYPES = ("qwen3",)
ARCHITECTURES = {"Qwen3ForCausalLM": "language_model", "Qwen3ForSequenceClassification": "classification",
                 "Qwen3ForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
DEFAULTS = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "attention_bias": False, "use_sliding_window": False, "sliding_window": 4096,
            "max_window_layers": 28}
SIZES = {"qwen3-0.6b": (28, 1024, 16, 3072), "qwen3-1.7b": (28, 2048, 16, 6144), "qwen3-4b": (36, 2560, 32, 9728),
         "qwen3-8b": (36, 4096, 32, 12288), "qwen3-14b": (40, 5120, 40, 17408), "qwen3-32b": (64, 5120, 64, 25600)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied_odd_head": {**_TINY, "head_dim": 12, "tie_word_embeddings": True, "vocab_size": 53},
    "biases": {**_TINY, "attention_bias": True, "num_key_value_heads": 1, "rms_norm_eps": 1e-3},
    "upper_layers_local": {**_TINY, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    "alternating": {**_TINY, "use_sliding_window": True, "sliding_window": 3,
                    "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    "yarn": {**_TINY, "num_key_value_heads": 4, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6,
                                                                    "original_max_position_embeddings": 10}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    norm = c.RMSNorm(foreign.need("rms_norm_eps"))
    config = llama.read_with(foreign, head, bias=foreign.get("attention_bias", False), query_key_norm=norm)
    return read_windows(foreign, config)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "qwen3", **llama.write_with(config), "attention_bias": stack.attention.bias,
            **write_windows(stack)}


rules = llama.rules
