"""GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023): attention and feed-forward side by side on a norm each,
rotary positions in a quarter of each head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.causal import build, decoder, head_rules, positions, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import BOTH, Rule, Split, fused, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("gpt_neox",)
ARCHITECTURES = {"GPTNeoXForCausalLM": "language_model", "GPTNeoXForSequenceClassification": "classification",
                 "GPTNeoXForTokenClassification": "tag"}
PREFIX = "gpt_neox."
DROPPED = (("gpt_neox.layers.*.attention.bias", "the causal mask, which needs no file"),
           ("gpt_neox.layers.*.attention.masked_bias", "a constant of the causal mask"),
           ("gpt_neox.layers.*.attention.rotary_emb.inv_freq", "computed from the config"))
SIZES = {"pythia-14m": (6, 128, 4), "pythia-31m": (6, 256, 8), "pythia-70m": (6, 512, 8), "pythia-160m": (12, 768, 12),
         "pythia-410m": (24, 1024, 16), "pythia-1b": (16, 2048, 8), "pythia-1.4b": (24, 2048, 16),
         "pythia-2.8b": (32, 2560, 32), "pythia-6.9b": (32, 4096, 32), "pythia-12b": (36, 5120, 40),
         "gpt-neox-20b": (44, 6144, 64)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied": {**_TINY, "tie_word_embeddings": True, "vocab_size": 53},
    "sequential": {**_TINY, "use_parallel_residual": False, "hidden_act": "gelu_new", "num_hidden_layers": 3},
    "whole_heads_no_bias": {**_TINY, "attention_bias": False, "layer_norm_eps": 1e-3,
                            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
    "linear": {**_TINY, "num_attention_heads": 2, "rope_parameters": {
        "rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0, "partial_rotary_factor": 0.5}},
    "old_names": {**_TINY, "rotary_pct": 0.75, "rotary_emb_base": 300},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, heads = foreign.get("hidden_size", 6144), foreign.get("num_attention_heads", 64)
    window = foreign.get("max_position_embeddings", 2048)
    rotary = read_rotary(foreign, width // heads, window, base=foreign.get("rotary_emb_base", 10000.0),
                         share=foreign.get("rotary_pct", 0.25))
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 44), c.Attention(heads, bias=foreign.get("attention_bias", True)),
        c.FeedForward(foreign.get("intermediate_size", 24576), foreign.activation("hidden_act", "gelu")),
        norm=c.LayerNorm(foreign.get("layer_norm_eps", 1e-5)), placement="pre", position=rotary,
        residual="parallel_norms" if foreign.get("use_parallel_residual", True) else "sequential", final_norm=True)
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50432), width=width, window=window, tied=False,
                 bos=0, eos=2)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    assert isinstance(stack.position, c.Rotary)
    rotary = rotary_keys(stack.position, config.head_size(stack.attention), share=0.25)
    older = {"rotary_emb_base": rotary.pop("rope_theta"), "rotary_pct": rotary.pop("partial_rotary_factor")}
    return {"model_type": "gpt_neox", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "intermediate_size": stack.feed_forward.size, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "layer_norm_eps": stack.norm.epsilon, "max_position_embeddings": positions(config),
            "attention_bias": stack.attention.bias, "use_parallel_residual": stack.residual == "parallel_norms",
            **rotary, **older, "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = decoder(config)
    split = Split((config.head_size(stack.attention),) * 3, stack.attention.heads)
    biased = parts(stack.attention.bias)
    yield from rename("target_embedding", "gpt_neox.embed_in")
    for layer in range(stack.layers):
        ours, theirs = f"decoder.blocks.{layer}", f"gpt_neox.layers.{layer}"
        names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
        yield from fused(names, f"{theirs}.attention.query_key_value", split, biased)
        yield from rename(f"{ours}.self_attention.output", f"{theirs}.attention.dense", biased)
        for mine, other in (("feed_forward.up", "mlp.dense_h_to_4h"), ("feed_forward.down", "mlp.dense_4h_to_h"),
                            ("self_attention_norm", "input_layernorm"), ("feed_forward_norm", "post_attention_layernorm")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
    yield from rename("decoder.final_norm", "gpt_neox.final_layer_norm", BOTH)
    yield from head_rules(config, language_model="embed_out")
