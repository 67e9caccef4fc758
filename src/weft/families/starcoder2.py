"""StarCoder2 (Lozhkov et al. 2024): rotary positions, LayerNorm before, plain GELU, grouped heads, biases, a sliding window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, positions, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import BOTH, Rule, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("starcoder2",)
ARCHITECTURES = {"Starcoder2ForCausalLM": "language_model", "Starcoder2ForSequenceClassification": "classification",
                 "Starcoder2ForTokenClassification": "tag"}
PREFIX = "model."
DROPPED: tuple[tuple[str, str], ...] = ()
IGNORED = ("residual_dropout", "mlp_type", "norm_type")
SIZES = {"starcoder2-3b": (30, 3072, 24), "starcoder2-7b": (32, 4608, 36), "starcoder2-15b": (40, 6144, 48)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53, "num_key_value_heads": 1},
    "window": {**_TINY, "sliding_window": 4, "num_key_value_heads": 4},
    "no_bias": {**_TINY, "use_bias": False, "norm_epsilon": 1e-3, "hidden_act": "relu"},
    "linear": {**_TINY, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, heads = foreign.get("hidden_size", 3072), foreign.get("num_attention_heads", 24)
    window, bias = foreign.get("max_position_embeddings", 4096), foreign.get("use_bias", True)
    attention = c.Attention(heads, foreign.get("num_key_value_heads", 2), bias=bias, window=foreign.get("sliding_window"))
    feed_forward = c.FeedForward(foreign.get("intermediate_size", 12288),
                                 foreign.activation("hidden_act", "gelu_pytorch_tanh"), bias=bias)
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 30), attention, feed_forward, norm=c.LayerNorm(foreign.get("norm_epsilon", 1e-5)),
        placement="pre", position=read_rotary(foreign, width // heads, window), final_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 49152), width=width, window=window, tied=True,
                 bos=50256, eos=50256)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    assert isinstance(stack.position, c.Rotary)
    return {"model_type": "starcoder2", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "intermediate_size": stack.feed_forward.size, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "num_key_value_heads": c.key_value_heads(stack.attention),
            "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "norm_epsilon": stack.norm.epsilon,
            "max_position_embeddings": positions(config), "sliding_window": stack.attention.window,
            "use_bias": stack.attention.bias, "tie_word_embeddings": tied(config),
            **rotary_keys(stack.position, config.head_size(stack.attention))}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    yield from rename("target_embedding", "model.embed_tokens")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"model.layers.{layer}"
        for mine, other in (("self_attention.query", "self_attn.q_proj"), ("self_attention.key", "self_attn.k_proj"),
                            ("self_attention.value", "self_attn.v_proj"), ("self_attention.output", "self_attn.o_proj"),
                            ("feed_forward.up", "mlp.c_fc"), ("feed_forward.down", "mlp.c_proj")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", parts(stack.attention.bias))
        yield from rename(f"{ours}.self_attention_norm", f"{theirs}.input_layernorm", BOTH)
        yield from rename(f"{ours}.feed_forward_norm", f"{theirs}.post_attention_layernorm", BOTH)
    yield from rename("decoder.final_norm", "model.norm", BOTH)
    yield from head_rules(config, tag="score")
