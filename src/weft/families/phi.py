"""Phi-1, 1.5 and 2 (Gunasekar et al. 2023; Li et al. 2023): attention and feed-forward side by side on one norm, rotary
positions in part of each head, biases everywhere, the output layer included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, positions, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("phi",)
ARCHITECTURES = {"PhiForCausalLM": "language_model", "PhiForSequenceClassification": "classification",
                 "PhiForTokenClassification": "tag"}
PREFIX = "model."
DROPPED = (("model.layers.*.self_attn.rotary_emb.inv_freq", "computed from the config"),)
SIZES = {"phi-1": (24, 2048, 32), "phi-1.5": (24, 2048, 32), "phi-2": (32, 2560, 32)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied_grouped": {**_TINY, "tie_word_embeddings": True, "num_key_value_heads": 2, "vocab_size": 53},
    "normed_heads": {**_TINY, "qk_layernorm": True, "num_key_value_heads": 1, "layer_norm_eps": 1e-3},
    "odd_head": {**_TINY, "head_dim": 12, "partial_rotary_factor": 0.4, "hidden_act": "relu"},
    "whole_heads": {**_TINY, "num_hidden_layers": 3,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
    "yarn": {**_TINY, "num_attention_heads": 2, "rope_parameters": {
        "rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "original_max_position_embeddings": 10}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, heads = foreign.get("hidden_size", 2048), foreign.get("num_attention_heads", 32)
    size, window = foreign.get("head_dim", width // heads), foreign.get("max_position_embeddings", 2048)
    norm = c.LayerNorm(foreign.get("layer_norm_eps", 1e-5))
    attention = c.Attention(heads, foreign.get("num_key_value_heads", heads), size,
                            query_key_norm=norm if foreign.get("qk_layernorm", False) else None)
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 24), attention,
        c.FeedForward(foreign.get("intermediate_size", 8192), foreign.activation("hidden_act", "gelu_new")),
        norm=norm, placement="pre", position=read_rotary(foreign, size, window, share=0.5), residual="parallel",
        final_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 51200), width=width, window=window, tied=False,
                 bias=True, bos=1, eos=2)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    assert isinstance(stack.position, c.Rotary)
    size = config.head_size(stack.attention)
    return {"model_type": "phi", "vocab_size": config.vocabulary, "hidden_size": config.width, "head_dim": size,
            "intermediate_size": stack.feed_forward.size, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "num_key_value_heads": c.key_value_heads(stack.attention),
            "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "layer_norm_eps": stack.norm.epsilon,
            "max_position_embeddings": positions(config), "qk_layernorm": stack.attention.query_key_norm is not None,
            **rotary_keys(stack.position, size, share=0.5),
            "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    yield from rename("target_embedding", "model.embed_tokens")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"model.layers.{layer}"
        for mine, other in (("self_attention.query", "self_attn.q_proj"), ("self_attention.key", "self_attn.k_proj"),
                            ("self_attention.value", "self_attn.v_proj"), ("self_attention.output", "self_attn.dense"),
                            ("feed_forward.up", "mlp.fc1"), ("feed_forward.down", "mlp.fc2"),
                            ("self_attention_norm", "input_layernorm")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
        if stack.attention.query_key_norm is not None:
            yield from rename(f"{ours}.self_attention.query_norm", f"{theirs}.self_attn.q_layernorm", BOTH)
            yield from rename(f"{ours}.self_attention.key_norm", f"{theirs}.self_attn.k_layernorm", BOTH)
    yield from rename("decoder.final_norm", "model.final_layernorm", BOTH)
    yield from head_rules(config, tag="score")
