"""Phi-3 and Phi-4 (Abdin et al. 2024): LLaMA with fused projections; for long texts rotary positions by LongRoPE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.errors import ConfigError
from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.families.rotary import long_attention
from weft.families.rules import Rule, Split, fused, rename
from weft.spec import config as c

MODEL_TYPES = ("phi3",)
ARCHITECTURES = {"Phi3ForCausalLM": "language_model", "Phi3ForSequenceClassification": "classification",
                 "Phi3ForTokenClassification": "tag"}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
DEFAULTS = {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 32000, "pad_token_id": 32000}
SIZES = {"phi-3-mini": (32, 3072, 32, 8192), "phi-3-medium": (40, 5120, 40, 17920), "phi-4": (40, 5120, 40, 17920)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40, "original_max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "window": {**_TINY, "sliding_window": 5, "num_hidden_layers": 3},
    "tied_grouped": {**_TINY, "num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 53},
    "partial": {**_TINY, "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0,
                                                                       "partial_rotary_factor": 0.75}},
    "long": {**_TINY, "original_max_position_embeddings": 9, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 500.0, "short_factor": [1.0, 1.1, 1.3, 2.0],
        "long_factor": [1.5, 4.0, 9.5, 30.0]}},
    "long_partial_window": {**_TINY, "num_key_value_heads": 2, "original_max_position_embeddings": 6, "sliding_window": 5,
                            "rope_parameters": {"rope_type": "longrope", "rope_theta": 500.0, "partial_rotary_factor": 0.75,
                                                "short_factor": [1.0, 1.2, 1.4], "long_factor": [2.0, 5.0, 12.0],
                                                "attention_factor": 1.3}},
    "gelu_odd_width": {**_TINY, "hidden_size": 40, "num_attention_heads": 2, "hidden_act": "gelu", "rms_norm_eps": 1e-3},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    for key, value in (("attention_bias", False), ("mlp_bias", False), ("lm_head_bias", False), ("full_attn_mod", 1),
                       ("interpolation_factor", 1)):
        foreign.expect(key, value)
    config = llama.read_with(foreign, head, window=foreign.get("sliding_window"))
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary)
    if not isinstance(stack.position.scaling, c.LongRopeScaling | None):
        raise ConfigError(f"the checkpoint's config.json has rope_type {stack.position.scaling.type!r}, which Phi-3 has not")
    return config


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary)
    scaling = stack.position.scaling
    original = scaling.original if isinstance(scaling, c.LongRopeScaling) else config.window.target
    values = {"model_type": "phi3", **llama.write_with(config), "sliding_window": stack.attention.window,
              "original_max_position_embeddings": original}
    if isinstance(scaling, c.LongRopeScaling):  # transformers 4 takes these three keys, and no other
        values["rope_scaling"] = {"type": "longrope", "short_factor": list(scaling.short), "long_factor": list(scaling.long)}
        if scaling.attention_factor != long_attention(config.window.target / original, original):
            del values["rope_scaling"]  # it has no word for that factor
    return values


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    size, keys = config.head_size(stack.attention), c.key_value_heads(stack.attention)
    heads = Split((stack.attention.heads * size, keys * size, keys * size))
    yield from rename("target_embedding", "model.embed_tokens")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"model.layers.{layer}"
        names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
        yield from fused(names, f"{theirs}.self_attn.qkv_proj", heads)
        yield from rename(f"{ours}.self_attention.output", f"{theirs}.self_attn.o_proj")
        names = [f"{ours}.feed_forward.{part}" for part in ("gate", "up")]
        yield from fused(names, f"{theirs}.mlp.gate_up_proj", Split((stack.feed_forward.size,) * 2))
        yield from rename(f"{ours}.feed_forward.down", f"{theirs}.mlp.down_proj")
        for mine, other in llama.NORMS:
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}")
    yield from rename("decoder.final_norm", "model.norm")
    yield from llama.head_rules(config.head)
