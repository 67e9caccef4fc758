"""Qwen 2 and 2.5 (Yang et al. 2024): LLaMA with biases on queries, keys and values; upper layers may see a window only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.families.layer_types import read_layer_types, write_layer_types
from weft.spec import config as c

MODEL_TYPES = ("qwen2",)
ARCHITECTURES = {"Qwen2ForCausalLM": "language_model", "Qwen2ForSequenceClassification": "classification",
                 "Qwen2ForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
DEFAULTS = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
SIZES = {"qwen2.5-0.5b": (24, 896, 14, 4864), "qwen2.5-1.5b": (28, 1536, 12, 8960), "qwen2.5-3b": (36, 2048, 16, 11008),
         "qwen2.5-7b": (28, 3584, 28, 18944), "qwen2.5-14b": (48, 5120, 40, 13824), "qwen2.5-32b": (64, 5120, 40, 27648),
         "qwen2.5-72b": (80, 8192, 64, 29568)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied_all_heads": {**_TINY, "num_key_value_heads": 4, "tie_word_embeddings": True, "vocab_size": 53},
    "upper_layers_local": {**_TINY, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "all_layers_local": {**_TINY, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0},
    "listed_layers": {**_TINY, "use_sliding_window": True, "sliding_window": 2, "num_key_value_heads": 1,
                      "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "yarn": {**_TINY, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6,
                                          "original_max_position_embeddings": 10}},
    "odd_head": {**_TINY, "head_dim": 12, "rms_norm_eps": 1e-3},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    foreign.expect("use_mrope", False)
    return read_windows(foreign, llama.read_with(foreign, head, bias=True, output_bias=False))


def read_windows(foreign: ForeignConfig, config: c.ModelConfig) -> c.ModelConfig:
    """The config with layers that see a window only, as Qwen 2 and 3 say it."""
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    used, window, first = (foreign.get(key, least=0) for key in ("use_sliding_window", "sliding_window", "max_window_layers"))
    window = window if used else None
    default = ["sliding_attention" if window is not None and layer >= first else "full_attention"
               for layer in range(stack.layers)]
    window, pattern = read_layer_types(foreign, window, default)
    return replace(config, decoder=replace(stack, attention=replace(stack.attention, window=window), pattern=pattern))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "qwen2", **llama.write_with(config), **write_windows(stack)}


def write_windows(stack: c.TransformerStack) -> dict[str, Any]:
    kinds = [*write_layer_types(stack), "sliding_attention"]
    return {"use_sliding_window": stack.attention.window is not None, "sliding_window": stack.attention.window,
            "max_window_layers": kinds.index("sliding_attention"), "layer_types": kinds[:-1]}


rules = llama.rules
