"""BLOOM (Le Scao et al. 2022): ALiBi instead of positions, a norm on the embeddings, queries, keys and values fused head
by head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import ForeignConfig
from weft.families.rules import BOTH, Rule, Split, fused, rename
from weft.spec import config as c

MODEL_TYPES = ("bloom",)
ARCHITECTURES = {"BloomForCausalLM": "language_model", "BloomForSequenceClassification": "classification",
                 "BloomForTokenClassification": "tag"}
PREFIX = "transformer."
DROPPED = ()
IGNORED = ("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi", "skip_bias_add",
           "skip_bias_add_qkv")
SIZES = {"bloom-560m": (24, 1024, 16), "bloom-1b1": (24, 1536, 16), "bloom-1b7": (24, 2048, 16), "bloom-3b": (30, 2560, 32),
         "bloom-7b1": (30, 4096, 32), "bloom": (70, 14336, 112)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 24, "n_layer": 2, "n_head": 4}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "six_heads": {**_TINY, "n_head": 6, "n_layer": 3},
    "one_head": {**_TINY, "n_head": 1, "hidden_size": 17, "layer_norm_epsilon": 1e-3},
    "normed_residual": {**_TINY, "apply_residual_connection_post_layernorm": True, "n_layer": 3},
    "eleven_heads": {**_TINY, "n_head": 11, "hidden_size": 33, "n_layer": 1},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    normed = foreign.get("apply_residual_connection_post_layernorm", False)
    foreign.expect("slow_but_exact", False)
    width = foreign.get("n_embed", foreign.get("hidden_size", 64))
    stack = c.TransformerStack(
        foreign.get("n_layer", foreign.get("num_hidden_layers", 2)),
        c.Attention(foreign.get("n_head", foreign.get("num_attention_heads", 8))), c.FeedForward(4 * width, "gelu_tanh"),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre_normed" if normed else "pre",
        position=c.ALiBi(), final_norm=True, embedding_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 250880), width=width,
                 window=foreign.get("seq_length", 2048), tied=True, bos=1, eos=2)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    return {"model_type": "bloom", "vocab_size": config.vocabulary, "hidden_size": config.width, "n_layer": stack.layers,
            "n_head": stack.attention.heads, "layer_norm_epsilon": stack.norm.epsilon, "seq_length": config.window.target,
            "apply_residual_connection_post_layernorm": stack.placement == "pre_normed", "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    yield from rename("target_embedding", "transformer.word_embeddings")
    yield from rename("decoder.embedding_norm", "transformer.word_embeddings_layernorm", BOTH)
    for layer in range(stack.layers):
        yield from _block_rules(config, f"decoder.blocks.{layer}", f"transformer.h.{layer}")
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    yield from head_rules(config)


def _block_rules(config: c.ModelConfig, ours: str, theirs: str) -> Iterator[Rule]:
    heads = decoder(config).attention.heads
    names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
    yield from fused(names, f"{theirs}.self_attention.query_key_value", Split((config.width // heads,) * 3, heads), BOTH)
    for mine, other in (("self_attention.output", "self_attention.dense"), ("feed_forward.up", "mlp.dense_h_to_4h"),
                        ("feed_forward.down", "mlp.dense_4h_to_h"), ("self_attention_norm", "input_layernorm"),
                        ("feed_forward_norm", "post_attention_layernorm")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
