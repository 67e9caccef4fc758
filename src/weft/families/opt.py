"""OPT (Zhang et al. 2022): GPT-3 in the open: learned positions from row 2 on, ReLU, norms before.

The one with 350M parameters has norms after, and embeddings half as wide as the model, mapped on the way in and out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Rule, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("opt",)
ARCHITECTURES = {"OPTForCausalLM": "language_model", "OPTForSequenceClassification": "classification"}
PREFIX = "model."
DROPPED = ()
IGNORED = ("layerdrop", "output_projection")
"""output_projection: whether there is an output layer, of which the class tells."""
SIZES = {"opt-125m": (12, 768, 12), "opt-350m": (24, 1024, 16), "opt-1.3b": (24, 2048, 32),
         "opt-2.7b": (32, 2560, 32), "opt-6.7b": (32, 4096, 32), "opt-13b": (40, 5120, 40), "opt-30b": (48, 7168, 56),
         "opt-66b": (64, 9216, 72), "opt-175b": (96, 12288, 96)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 40,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "norms_after": {**_TINY, "do_layer_norm_before": False},
    "narrow_embedding": {**_TINY, "word_embed_proj_dim": 10, "do_layer_norm_before": False},
    "wide_embedding_untied": {**_TINY, "word_embed_proj_dim": 30, "tie_word_embeddings": False, "vocab_size": 53},
    "no_bias": {**_TINY, "enable_bias": False, "activation_function": "gelu", "num_hidden_layers": 3},
    "no_final_norm": {**_TINY, "_remove_final_layer_norm": True, "num_attention_heads": 1, "hidden_size": 17},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, bias, before = foreign.get("hidden_size", 768), foreign.get("enable_bias", True), \
        foreign.get("do_layer_norm_before", True)
    for key, value in (("layer_norm_elementwise_affine", True), ("learned_embeddings", True), ("scale_embeddings", False)):
        foreign.expect(key, value)
    removed = foreign.get("_remove_final_layer_norm", False)
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 12), c.Attention(foreign.get("num_attention_heads", 12), bias=bias),
        c.FeedForward(foreign.get("ffn_dim", 3072), foreign.activation("activation_function", "relu"), bias=bias),
        norm=c.LayerNorm(1e-5), placement="pre" if before else "post", position=c.Learned(offset=2),
        final_norm=before and not removed)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50272), width=width,
                 window=foreign.get("max_position_embeddings", 2048), tied=True, pad=1, bos=2, eos=2,
                 size=foreign.get("word_embed_proj_dim", width))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    before = stack.placement == "pre"
    return {"model_type": "opt", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "word_embed_proj_dim": config.embedding_size, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "ffn_dim": stack.feed_forward.size,
            "max_position_embeddings": config.window.target, "enable_bias": stack.attention.bias,
            "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "do_layer_norm_before": before,
            "_remove_final_layer_norm": before and not stack.final_norm, "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    biased = parts(stack.attention.bias)
    yield from rename("target_embedding", "model.decoder.embed_tokens")
    yield from rename("decoder.position", "model.decoder.embed_positions")
    if config.embedding_size != config.width:
        yield from rename("embedding_projection", "model.decoder.project_in")
        yield from rename("head.transform", "model.decoder.project_out")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"model.decoder.layers.{layer}"
        for mine, other in (("self_attention.query", "self_attn.q_proj"), ("self_attention.key", "self_attn.k_proj"),
                            ("self_attention.value", "self_attn.v_proj"), ("self_attention.output", "self_attn.out_proj"),
                            ("feed_forward.up", "fc1"), ("feed_forward.down", "fc2")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", biased)
        yield from rename(f"{ours}.self_attention_norm", f"{theirs}.self_attn_layer_norm", BOTH)
        yield from rename(f"{ours}.feed_forward_norm", f"{theirs}.final_layer_norm", BOTH)
    if stack.final_norm:
        yield from rename("decoder.final_norm", "model.decoder.final_layer_norm", BOTH)
    yield from head_rules(config)
