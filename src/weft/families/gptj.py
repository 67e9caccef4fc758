"""GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward side by side on one norm, rotary positions in part of
each head that pair neighbouring channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, RotaryPairs, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("gptj",)
ARCHITECTURES = {"GPTJForCausalLM": "language_model", "GPTJForSequenceClassification": "classification"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.attn.bias", "the causal mask, which needs no file"),
           ("transformer.h.*.attn.masked_bias", "a constant of the causal mask"),
           ("transformer.h.*.attn.embed_positions", "computed from the config"))
IGNORED = ("n_ctx", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
           "summary_use_proj")
SIZES = {"gpt-j-6b": (28, 4096, 16)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "rotary_dim": 4}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied": {**_TINY, "tie_word_embeddings": True, "vocab_size": 53},
    "whole_heads": {**_TINY, "rotary_dim": 8, "n_inner": 20},
    "two_channels": {**_TINY, "rotary_dim": 2, "n_embd": 36, "layer_norm_epsilon": 1e-3},
    "relu": {**_TINY, "activation_function": "relu", "n_head": 2, "rotary_dim": 6, "n_layer": 3},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.expect("rotary", True)
    foreign.expect("scale_attn_weights", True)
    width, heads = foreign.get("n_embd", 4096), foreign.get("n_head", 16)
    turned = foreign.need("rotary_dim") if "rotary_dim" in foreign.values else 64
    stack = c.TransformerStack(
        foreign.get("n_layer", 28), c.Attention(heads, bias=False),
        c.FeedForward(foreign.get("n_inner", 4 * width), foreign.activation("activation_function", "gelu_new")),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre",
        position=c.Rotary(dimension=None if turned == width // heads else turned), residual="parallel", final_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50400), width=width,
                 window=foreign.get("n_positions", 2048), tied=False, bias=True, bos=50256, eos=50256)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    return {"model_type": "gptj", "vocab_size": config.vocabulary, "n_embd": config.width, "n_layer": stack.layers,
            "n_head": stack.attention.heads, "n_positions": config.window.target, "n_inner": stack.feed_forward.size,
            "rotary_dim": _turned(config), "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "layer_norm_epsilon": stack.norm.epsilon, "tie_word_embeddings": tied(config)}


def _turned(config: c.ModelConfig) -> int:
    stack = decoder(config)
    assert isinstance(stack.position, c.Rotary)
    return stack.position.dimension or config.head_size(stack.attention)


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    pairs = RotaryPairs(config.head_size(stack.attention), _turned(config))
    yield from rename("target_embedding", "transformer.wte")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"transformer.h.{layer}"
        yield from rename(f"{ours}.self_attention.query", f"{theirs}.attn.q_proj", operation=pairs)
        yield from rename(f"{ours}.self_attention.key", f"{theirs}.attn.k_proj", operation=pairs)
        yield from rename(f"{ours}.self_attention.value", f"{theirs}.attn.v_proj")
        yield from rename(f"{ours}.self_attention.output", f"{theirs}.attn.out_proj")
        for mine, other in (("self_attention_norm", "ln_1"), ("feed_forward.up", "mlp.fc_in"),
                            ("feed_forward.down", "mlp.fc_out")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    yield from head_rules(config)
