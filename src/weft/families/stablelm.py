"""StableLM (Bellagente et al. 2024): LLaMA's gated feed-forward and grouped heads with LayerNorm and partly rotary heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, positions, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import BOTH, Rule, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("stablelm",)
ARCHITECTURES = {"StableLmForCausalLM": "language_model", "StableLmForSequenceClassification": "classification",
                 "StableLmForTokenClassification": "tag"}
PREFIX = "model."
DROPPED = (("model.layers.*.self_attn.rotary_emb.inv_freq", "computed from the config"),)
SIZES = {"stablelm-3b": (32, 2560, 32), "stablelm-2-1.6b": (24, 2048, 32)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 4, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied_grouped": {**_TINY, "tie_word_embeddings": True, "num_key_value_heads": 2, "vocab_size": 53},
    "biases": {**_TINY, "use_qkv_bias": True, "layer_norm_eps": 1e-3},
    "parallel": {**_TINY, "use_parallel_residual": True, "num_key_value_heads": 1},
    "half_rotary": {**_TINY, "hidden_act": "gelu", "rope_parameters": {
        "rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.expect("qk_layernorm", False)
    width, heads = foreign.get("hidden_size", 2560), foreign.get("num_attention_heads", 32)
    window = foreign.get("max_position_embeddings", 4096)
    attention = c.Attention(heads, foreign.get("num_key_value_heads", 32), bias=foreign.get("use_qkv_bias", False),
                            output_bias=False)
    feed_forward = c.FeedForward(foreign.get("intermediate_size", 6912), foreign.activation("hidden_act", "silu"), gated=True,
                                 bias=False)
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 32), attention, feed_forward, norm=c.LayerNorm(foreign.get("layer_norm_eps", 1e-5)),
        placement="pre", position=read_rotary(foreign, width // heads, window, share=0.25), final_norm=True,
        residual="parallel" if foreign.get("use_parallel_residual", False) else "sequential")
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50304), width=width, window=window, tied=False,
                 bos=0, eos=0)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    assert isinstance(stack.position, c.Rotary)
    return {"model_type": "stablelm", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "intermediate_size": stack.feed_forward.size, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "num_key_value_heads": c.key_value_heads(stack.attention),
            "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "layer_norm_eps": stack.norm.epsilon,
            "max_position_embeddings": positions(config), "use_qkv_bias": stack.attention.bias,
            "use_parallel_residual": stack.residual == "parallel", "tie_word_embeddings": tied(config),
            **rotary_keys(stack.position, config.head_size(stack.attention), share=0.25)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    yield from rename("target_embedding", "model.embed_tokens")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"model.layers.{layer}"
        for mine, other in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            yield from rename(f"{ours}.self_attention.{mine}", f"{theirs}.self_attn.{other}", parts(stack.attention.bias))
        for mine, other in (("self_attention.output", "self_attn.o_proj"), ("feed_forward.gate", "mlp.gate_proj"),
                            ("feed_forward.up", "mlp.up_proj"), ("feed_forward.down", "mlp.down_proj")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}")
        yield from rename(f"{ours}.self_attention_norm", f"{theirs}.input_layernorm", BOTH)
        if stack.residual == "sequential":
            yield from rename(f"{ours}.feed_forward_norm", f"{theirs}.post_attention_layernorm", BOTH)
    yield from rename("decoder.final_norm", "model.norm", BOTH)
    yield from head_rules(config, tag="score")
