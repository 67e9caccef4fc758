"""GPT-Neo (Black et al. 2021): GPT-2 with every other layer local, unscaled attention and projections of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weft.families.causal import build, decoder, head_rules, tied
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("gpt_neo",)
ARCHITECTURES = {"GPTNeoForCausalLM": "language_model", "GPTNeoForSequenceClassification": "classification",
                 "GPTNeoForTokenClassification": "tag"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.attn.attention.bias", "the causal mask, which needs no file"),
           ("transformer.h.*.attn.attention.masked_bias", "a constant of the causal mask"))
IGNORED = ("attention_layers", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
           "summary_use_proj")
"""attention_layers repeats attention_types, layer by layer."""
SIZES = {"gpt-neo-125m": (12, 768, 12), "gpt-neo-1.3b": (24, 2048, 16), "gpt-neo-2.7b": (32, 2560, 20)}
"""Layers, width, heads."""
_TINY = {"vocab_size": 61, "hidden_size": 24, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 40,
         "attention_types": [[["global", "local"], 1]], "window_size": 4}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "global": {**_TINY, "attention_types": [[["global"], 2]], "activation_function": "relu"},
    "local": {**_TINY, "attention_types": [[["local"], 2]], "window_size": 3, "intermediate_size": 20},
    "uneven": {**_TINY, "attention_types": [[["local", "global"], 1], [["local"], 1]], "num_layers": 3,
               "window_size": 2, "layer_norm_epsilon": 1e-3},
    "mixed": {**_TINY, "attention_types": [[["local"], 2], [["global"], 1]], "num_layers": 3, "num_heads": 2},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    width, layers = foreign.get("hidden_size", 2048), foreign.get("num_layers", 24)
    kinds = [kind for group, times in foreign.get("attention_types", [[["global", "local"], 12]])
             for _ in range(times) for kind in group]
    pattern, window = _shortest(kinds), foreign.get("window_size", 256)
    stack = c.TransformerStack(
        layers, c.Attention(foreign.get("num_heads", 16), bias=False, output_bias=True, scale=1.0,
                            window=window if "local" in pattern else None),
        c.FeedForward(foreign.get("intermediate_size", 4 * width), foreign.activation("activation_function", "gelu_new")),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre", position=c.Learned(), final_norm=True,
        pattern=pattern if len(pattern) > 1 else ())
    return build(foreign, head, stack, vocabulary=foreign.get("vocab_size", 50257), width=width,
                 window=foreign.get("max_position_embeddings", 2048), tied=True, bos=50256, eos=50256)


def _shortest(kinds: Sequence[Any]) -> tuple[Any, ...]:
    """The shortest list that gives `kinds` when it is repeated."""
    size = next(size for size in range(1, len(kinds) + 1)
                if all(kind == kinds[i % size] for i, kind in enumerate(kinds)))
    return tuple(kinds[:size])


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = decoder(config)
    kinds = ["local" if stack.is_local(layer) else "global" for layer in range(stack.layers)]
    return {"model_type": "gpt_neo", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "num_layers": stack.layers, "num_heads": stack.attention.heads,
            "max_position_embeddings": config.window.target, "intermediate_size": stack.feed_forward.size,
            "attention_types": [[[kind], 1] for kind in kinds], "attention_layers": kinds,
            "window_size": stack.attention.window or 256,
            "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "layer_norm_epsilon": stack.norm.epsilon, "tie_word_embeddings": tied(config)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from rename("target_embedding", "transformer.wte")
    yield from rename("decoder.position", "transformer.wpe")
    for layer in range(decoder(config).layers):
        ours, theirs = f"decoder.blocks.{layer}", f"transformer.h.{layer}"
        for mine, other in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            yield from rename(f"{ours}.self_attention.{mine}", f"{theirs}.attn.attention.{other}")
        for mine, other in (("self_attention.output", "attn.attention.out_proj"), ("feed_forward.up", "mlp.c_fc"),
                            ("feed_forward.down", "mlp.c_proj"), ("self_attention_norm", "ln_1"),
                            ("feed_forward_norm", "ln_2")):
            yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    yield from head_rules(config)
