"""Falcon (Almazrouei et al. 2023), in its three kinds.

Falcon-7B: attention, with one key and value head, beside the feed-forward on one norm. The "new" architecture (11B, 40B,
180B): grouped heads, and a norm each or, in 11B, one. Falcon-RW (Penedo et al. 2023): one after the other, ALiBi, biases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, positions, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import BOTH, Rule, Split, fused, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("falcon",)
ARCHITECTURES = {"FalconForCausalLM": "language_model", "FalconForSequenceClassification": "classification",
                 "FalconForTokenClassification": "tag"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.self_attention.rotary_emb.inv_freq", "computed from the config"),)
IGNORED = ("ff_factor",)
"""ff_factor: ffn_hidden_size says it."""
SIZES = {"falcon-rw-1b": (24, 2048, 32, 32), "falcon-rw-7b": (36, 4096, 64, 64), "falcon-7b": (32, 4544, 71, 1),
         "falcon-11b": (60, 4096, 32, 8), "falcon-40b": (60, 8192, 128, 8), "falcon-180b": (80, 14848, 232, 8)}
"""Layers, width, heads, key and value heads."""
_TINY = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40}
_NEW = {**_TINY, "new_decoder_architecture": True, "num_kv_heads": 2}
_RW = {**_TINY, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "rw": _RW,
    "new": _NEW,
    "new_one_norm": {**_NEW, "num_ln_in_parallel_attn": 1, "ffn_hidden_size": 40, "tie_word_embeddings": False,
                     "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "new_all_heads": {**_NEW, "num_kv_heads": 4, "activation": "relu", "vocab_size": 53},
    "rw_six_heads": {**_RW, "num_attention_heads": 6, "hidden_size": 36, "bias": False, "layer_norm_epsilon": 1e-3},
    "rw_one_head_of_keys": {**_RW, "multi_query": True, "num_hidden_layers": 3},
    "alibi_beside": {**_RW, "parallel_attn": True},
    "sequential_linear": {**_TINY, "parallel_attn": False, "bias": True, "num_attention_heads": 2,
                          "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.expect("apply_residual_connection_post_layernorm", False)
    width, heads = foreign.get("n_embed", foreign.get("hidden_size", 4544)), foreign.get("num_attention_heads", 71)
    window, bias, size = foreign.get("max_position_embeddings", 2048), foreign.get("bias", False), width // heads
    rotary = read_rotary(foreign, size, window)
    key_value_heads, residual = _kind(foreign, heads)
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 32), c.Attention(heads, key_value_heads, bias=bias),
        c.FeedForward(foreign.get("ffn_hidden_size", 4 * width), foreign.activation("activation", "gelu"), bias=bias),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre", residual=residual, final_norm=True,
        position=c.ALiBi(scale=size**-0.5, rounded=True) if foreign.get("alibi", False) else rotary)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 65024), width=width, window=window, tied=True,
                 bos=11, eos=11)


def _kind(foreign: ForeignConfig, heads: int) -> tuple[int, Any]:
    """Key and value heads, and the kind of residual."""
    several, beside = not foreign.get("multi_query", True), foreign.get("parallel_attn", True)
    given = foreign.get("num_kv_heads", heads)
    if foreign.get("new_decoder_architecture", False):
        foreign.expect("parallel_attn", True)
        foreign.expect("num_ln_in_parallel_attn", 2, 1)
        return given, "parallel" if foreign.get("num_ln_in_parallel_attn") == 1 else "parallel_norms"
    foreign.expect("num_ln_in_parallel_attn", None, 1)
    if several:
        foreign.expect("num_kv_heads", heads)
    return heads if several else 1, "parallel" if beside else "sequential"


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    heads, groups = stack.attention.heads, c.key_value_heads(stack.attention)
    new = stack.residual == "parallel_norms" or groups not in (1, heads)
    values = {"model_type": "falcon", "vocab_size": config.vocabulary, "hidden_size": config.width,
              "num_hidden_layers": stack.layers, "num_attention_heads": heads, "num_kv_heads": groups,
              "ffn_hidden_size": stack.feed_forward.size, "activation": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
              "layer_norm_epsilon": stack.norm.epsilon, "max_position_embeddings": positions(config),
              "bias": stack.attention.bias, "new_decoder_architecture": new, "multi_query": groups == 1,
              "parallel_attn": stack.residual != "sequential", "alibi": isinstance(stack.position, c.ALiBi),
              "tie_word_embeddings": tied(config)}
    if new:
        values["num_ln_in_parallel_attn"] = 2 if stack.residual == "parallel_norms" else 1
    if isinstance(stack.position, c.Rotary):
        values |= rotary_keys(stack.position, config.head_size(stack.attention))
    return values


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    yield from rename("target_embedding", "transformer.word_embeddings")
    for layer in range(stack.layers):
        yield from _block_rules(config, stack, f"decoder.blocks.{layer}", f"transformer.h.{layer}")
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    yield from head_rules(config)


NORMS = {"parallel": ("input_layernorm",), "parallel_norms": ("ln_attn", "ln_mlp"),
         "sequential": ("input_layernorm", "post_attention_layernorm")}
"""Their names of the norms before attention and, where it has its own, before the feed-forward."""


def _block_rules(config: c.ModelConfig, stack: c.TransformerStack, ours: str, theirs: str) -> Iterator[Rule]:
    """Each group of query heads is followed by its key and its value head; all three kinds differ only in the groups."""
    size, groups, biased = config.head_size(stack.attention), c.key_value_heads(stack.attention), parts(stack.attention.bias)
    names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
    split = Split((size * (stack.attention.heads // groups), size, size), groups)
    yield from fused(names, f"{theirs}.self_attention.query_key_value", split, biased)
    for mine, other in (("self_attention.output", "self_attention.dense"), ("feed_forward.up", "mlp.dense_h_to_4h"),
                        ("feed_forward.down", "mlp.dense_4h_to_h")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", biased)
    for mine, other in zip(("self_attention_norm", "feed_forward_norm"), NORMS[stack.residual], strict=False):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
