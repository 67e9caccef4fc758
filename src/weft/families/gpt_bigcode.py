"""GPT-BigCode (SantaCoder, Ben Allal et al. 2023; StarCoder, Li et al. 2023): GPT-2 with one key/value head for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Rule, Split, fused, rename
from weft.spec import config as c

MODEL_TYPES = ("gpt_bigcode",)
ARCHITECTURES = {"GPTBigCodeForCausalLM": "language_model", "GPTBigCodeForSequenceClassification": "classification",
                 "GPTBigCodeForTokenClassification": "tag"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.attn.bias", "the causal mask, which needs no file"),)
IGNORED = ("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "inference_runner", "max_batch_size",
           "max_sequence_length", "pad_key_length", "pre_allocate_kv_cache", "validate_runner_input", "summary_activation",
           "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj")
SIZES = {"santacoder": (24, 2048, 16), "starcoder": (40, 6144, 48)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "all_heads": {**_TINY, "multi_query": False},
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "narrow_feed_forward": {**_TINY, "n_inner": 20, "activation_function": "relu"},
    "unscaled": {**_TINY, "scale_attn_weights": False, "layer_norm_epsilon": 1e-3, "n_head": 2},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, heads, window = foreign.get("n_embd", 768), foreign.get("n_head", 12), foreign.get("n_positions", 1024)
    key_value_heads = 1 if foreign.get("multi_query", True) else heads
    foreign.expect("num_key_value_heads", key_value_heads)
    attention = c.Attention(heads, key_value_heads,
                            scale=None if foreign.get("scale_attn_weights", True) else 1.0)
    feed_forward = c.FeedForward(foreign.get("n_inner", 4 * width),
                                 foreign.activation("activation_function", "gelu_pytorch_tanh"))
    stack = c.TransformerStack(foreign.get("n_layer", 12), attention, feed_forward,
                               norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre",
                               position=c.Learned(), final_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50257), width=width, window=window, tied=True,
                 bos=50256, eos=50256)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    return {"model_type": "gpt_bigcode", "vocab_size": config.vocabulary, "n_embd": config.width, "n_layer": stack.layers,
            "n_head": stack.attention.heads, "n_positions": config.window.target, "n_inner": stack.feed_forward.size,
            "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "layer_norm_epsilon": stack.norm.epsilon, "scale_attn_weights": stack.attention.scale is None,
            "multi_query": c.key_value_heads(stack.attention) == 1, "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    size, heads = config.head_size(stack.attention), stack.attention.heads
    queries_of_all = c.key_value_heads(stack.attention) == 1  # then keys and values follow them; else each head has its three
    split = Split((heads * size, size, size)) if queries_of_all else Split((size,) * 3, heads)
    yield from rename("target_embedding", "transformer.wte")
    yield from rename("decoder.position", "transformer.wpe")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"transformer.h.{layer}"
        names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
        yield from fused(names, f"{theirs}.attn.c_attn", split, BOTH)
        for mine, other in (("self_attention.output", "attn.c_proj"), ("feed_forward.up", "mlp.c_fc"),
                            ("feed_forward.down", "mlp.c_proj"), ("self_attention_norm", "ln_1"),
                            ("feed_forward_norm", "ln_2")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    yield from head_rules(config)
