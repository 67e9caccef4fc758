"""Gemma 1 (Gemma Team 2024): LLaMA with norms kept as differences from 1, scaled embeddings shared with the head, GeGLU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("gemma",)
ARCHITECTURES = {"GemmaForCausalLM": "language_model", "GemmaForSequenceClassification": "classification",
                 "GemmaForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
DEFAULTS = {"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "pad_token_id": 0,
            "eos_token_id": 1, "bos_token_id": 2}
SIZES = {"gemma-2b": (18, 2048, 8, 16384), "gemma-7b": (28, 3072, 16, 24576)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 1, "head_dim": 12, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied_grouped": {**_TINY, "tie_word_embeddings": False, "num_key_value_heads": 2, "vocab_size": 53},
    "biases": {**_TINY, "attention_bias": True, "head_dim": 8, "num_key_value_heads": 4},
    "silu": {**_TINY, "hidden_act": "silu", "rms_norm_eps": 1e-3, "num_hidden_layers": 3},
    "old_name_of_gelu": {**_TINY, "hidden_act": "gelu", "hidden_size": 36},
    "linear": {**_TINY, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    if foreign.get("hidden_act") == "gelu":  # what the first checkpoints say, and do not mean
        foreign.values["hidden_act"] = "gelu_pytorch_tanh"
    foreign.expect("hidden_activation", foreign.get("hidden_act"))
    foreign.expect("use_bidirectional_attention", False)
    return read_differences(llama.read_with(foreign, head, bias=foreign.get("attention_bias", False)))


def read_differences(config: c.ModelConfig, **stack: Any) -> c.ModelConfig:
    """The config with what tells every Gemma from LLaMA, and with other fields of its stack."""
    assert isinstance(config.decoder, c.TransformerStack) and isinstance(config.decoder.norm, c.RMSNorm)
    decoder = replace(config.decoder, norm=replace(config.decoder.norm, offset=1.0), **stack)
    return replace(config, decoder=decoder, embedding=replace(config.embedding, scale="sqrt_width"))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "gemma", **llama.write_with(config), "attention_bias": stack.attention.bias,
            "tie_word_embeddings": is_tied(config)}


def is_tied(config: c.ModelConfig) -> bool:
    """tie_word_embeddings; as by default where there is no head to tie."""
    return config.embedding.sharing == "target" or not isinstance(config.head, c.LanguageModelHead)


rules = llama.rules
