"""GPT, the first (Radford et al. 2018): decoder-only, learned positions, norms after, fused and transposed projections.

Its blocks have the tensors of GPT-2's, with the norms at other places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families import gpt2
from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import ForeignConfig
from weft.families.rules import Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("openai-gpt",)
ARCHITECTURES = {"OpenAIGPTLMHeadModel": "language_model", "OpenAIGPTForSequenceClassification": "classification"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.attn.bias", "the causal mask, which needs no file"),
           ("transformer.position_ids", "the numbers 0, 1, 2, ..."))
IGNORED = ("n_ctx", "n_special", "predict_special_tokens", "summary_activation", "summary_first_dropout",
           "summary_proj_to_labels", "summary_type", "summary_use_proj")
SIZES = {"openai-gpt": (12, 768, 12)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "relu": {**_TINY, "afn": "relu", "layer_norm_epsilon": 1e-3},
    "silu": {**_TINY, "afn": "silu", "n_layer": 3, "n_head": 2},
    "one_head": {**_TINY, "n_head": 1, "n_embd": 17, "n_layer": 1},
}
_ACTIVATIONS: dict[str, Any] = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}  # its own names
_FOREIGN_ACTIVATIONS = {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.expect("afn", *_ACTIVATIONS)
    width, window = foreign.get("n_embd", 768), foreign.get("n_positions", 512)
    stack = c.TransformerStack(
        foreign.get("n_layer", 12), c.Attention(foreign.get("n_head", 12)),
        c.FeedForward(4 * width, _ACTIVATIONS[foreign.get("afn", "gelu")]),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="post", position=c.Learned())
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 40478), width=width, window=window, tied=True)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    return {"model_type": "openai-gpt", "vocab_size": config.vocabulary, "n_embd": config.width, "n_layer": stack.layers,
            "n_head": stack.attention.heads, "n_positions": config.window.target,
            "afn": _FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "layer_norm_epsilon": stack.norm.epsilon,
            "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from rename("target_embedding", "transformer.tokens_embed")
    yield from rename("decoder.position", "transformer.positions_embed")
    for layer in range(decoder(config).layers):
        yield from gpt2.block_rules(config.width, f"decoder.blocks.{layer}", f"transformer.h.{layer}")
    yield from head_rules(config)
