"""Gemma 2 (Gemma Team 2024): Gemma with norms around sub-layers, capped scores and logits, every other layer local."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.families.gemma import is_tied, read_differences
from weft.families.layer_types import NAMES, read_layer_types, write_layer_types
from weft.spec import config as c

MODEL_TYPES = ("gemma2",)
ARCHITECTURES = {"Gemma2ForCausalLM": "language_model", "Gemma2ForSequenceClassification": "classification",
                 "Gemma2ForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
IGNORED = ("cache_implementation",)
DEFAULTS = {"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "pad_token_id": 0,
            "eos_token_id": 1, "bos_token_id": 2, "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}
SIZES = {"gemma-2-2b": (26, 2304, 8, 9216), "gemma-2-9b": (42, 3584, 16, 14336), "gemma-2-27b": (46, 4608, 32, 36864)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 40, "sliding_window": 4,
         "query_pre_attn_scalar": 12, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied_odd_head": {**_TINY, "tie_word_embeddings": False, "head_dim": 12, "num_key_value_heads": 1, "vocab_size": 53},
    "uncapped": {**_TINY, "final_logit_softcapping": None, "attn_logit_softcapping": None, "query_pre_attn_scalar": 8},
    "all_global": {**_TINY, "layer_types": ["full_attention"] * 3, "attention_bias": True},
    "all_local": {**_TINY, "layer_types": ["sliding_attention"] * 3, "num_key_value_heads": 4, "rms_norm_eps": 1e-3},
    "no_pattern": {**_TINY, "layer_types": ["full_attention", "full_attention", "sliding_attention"],
                   "hidden_activation": "silu"},
    "linear": {**_TINY, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    foreign.expect("hidden_act", foreign.get("hidden_activation"))
    foreign.expect("sliding_window_size", foreign.get("sliding_window"))
    default = [NAMES["global" if layer % 2 else "local"] for layer in range(foreign.need("num_hidden_layers"))]
    return read_sandwich(foreign, head, default, soft_cap=foreign.get("attn_logit_softcapping"))


def read_sandwich(foreign: ForeignConfig, head: str, layer_types: list[str], **changes: Any) -> c.ModelConfig:
    """What Gemma 2 and 3 share. layer_types: where none are listed. changes: as of llama.read_with."""
    foreign.expect("use_bidirectional_attention", False)
    scalar, size = foreign.need("query_pre_attn_scalar"), foreign.need("head_dim")
    window, pattern = read_layer_types(foreign, foreign.get("sliding_window"), layer_types)
    config = llama.read_with(foreign, head, activation="hidden_activation", bias=foreign.get("attention_bias", False),
                             scale=None if scalar == size else scalar**-0.5, window=window, **changes)
    soft_cap = foreign.get("final_logit_softcapping")  # other heads have none
    config = replace(config, head=replace(config.head, soft_cap=soft_cap)) if head == "language_model" else config
    return read_differences(config, placement="sandwich", pattern=pattern)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "gemma2", **write_sandwich(config), "attn_logit_softcapping": stack.attention.soft_cap}


def write_sandwich(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    attention = stack.attention
    scalar = config.head_size(attention) if attention.scale is None else attention.scale**-2
    whole = round(scalar)
    return {**llama.write_with(config, "hidden_activation"), "attention_bias": attention.bias,
            "tie_word_embeddings": is_tied(config), "layer_types": write_layer_types(stack),
            "query_pre_attn_scalar": whole if whole**-0.5 == attention.scale else scalar,
            "sliding_window": DEFAULTS["sliding_window"] if attention.window is None else attention.window,
            "final_logit_softcapping": config.head.soft_cap if isinstance(config.head, c.LanguageModelHead) else None}


rules = llama.rules
