"""Mistral 7B (Jiang et al. 2023): LLaMA with grouped heads and, in its first version, attention to a sliding window."""

from __future__ import annotations

from typing import Any

from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

MODEL_TYPES = ("mistral",)
ARCHITECTURES = {"MistralForCausalLM": "language_model", "MistralForSequenceClassification": "classification",
                 "MistralForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
DEFAULTS = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
            "sliding_window": 4096, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {"mistral-7b": (32, 4096, 32, 14336), "mistral-nemo-12b": (40, 5120, 32, 14336),
         "mistral-small-24b": (40, 5120, 32, 32768)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 40, "sliding_window": 5}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "no_window": {**_TINY, "sliding_window": None, "num_key_value_heads": 4},
    "odd_head_tied": {**_TINY, "head_dim": 12, "tie_word_embeddings": True, "vocab_size": 53, "num_hidden_layers": 3},
    "one_key_head_narrow_window": {**_TINY, "num_key_value_heads": 1, "sliding_window": 2, "rms_norm_eps": 1e-3},
    "yarn": {**_TINY, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500.0,
                                          "original_max_position_embeddings": 10}},
    "gelu_linear": {**_TINY, "hidden_act": "gelu", "rope_parameters": {"rope_type": "linear", "factor": 2.0,
                                                                       "rope_theta": 1e6}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    return llama.read_with(foreign, head, window=foreign.get("sliding_window"))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "mistral", **llama.write_with(config), "sliding_window": stack.attention.window}


rules = llama.rules
