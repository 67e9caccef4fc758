"""GPT-2 (Radford et al. 2019): decoder-only, learned positions, norms before, fused and transposed projections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Chain, Rule, Split, Transpose, fused, rename
from weft.spec import config as c

MODEL_TYPES = ("gpt2",)
ARCHITECTURES = {"GPT2LMHeadModel": "language_model", "GPT2ForSequenceClassification": "classification"}
PREFIX = "transformer."
DROPPED = (("transformer.h.*.attn.bias", "the causal mask, which needs no file"),
           ("transformer.h.*.attn.masked_bias", "a constant of the causal mask"))
IGNORED = ("n_ctx", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
           "summary_use_proj", "reorder_and_upcast_attn")
SIZES = {"gpt2": (12, 768, 12), "gpt2-medium": (24, 1024, 16), "gpt2-large": (36, 1280, 20), "gpt2-xl": (48, 1600, 25)}
_TINY = {"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False},
    "relu": {**_TINY, "activation_function": "relu", "vocab_size": 53},
    "narrow_feed_forward": {**_TINY, "n_inner": 20},
    "unscaled": {**_TINY, "scale_attn_weights": False, "layer_norm_epsilon": 1e-3},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.expect("scale_attn_by_inverse_layer_idx", False)
    vocabulary, width, window = foreign.get("vocab_size", 50257), foreign.get("n_embd", 768), foreign.get("n_positions", 1024)
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    stack = c.TransformerStack(
        foreign.get("n_layer", 12),
        c.Attention(foreign.get("n_head", 12), scale=None if foreign.get("scale_attn_weights", True) else 1.0),
        c.FeedForward(foreign.get("n_inner", 4 * width), foreign.activation("activation_function", "gelu_new")),
        norm=c.LayerNorm(foreign.get("layer_norm_epsilon", 1e-5)), placement="pre", position=c.Learned(), final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target" if tied else "none", "none"),
                         head=c.LanguageModelHead() if head == "language_model" else
                         c.ClassificationHead(foreign.labels(), "last", bias=False, **foreign.problem),
                         special=foreign.special(vocabulary, bos=50256, eos=50256), window=c.Window(window, window))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "gpt2", "vocab_size": config.vocabulary, "n_embd": config.width, "n_layer": stack.layers,
            "n_head": stack.attention.heads, "n_positions": config.window.target, "n_inner": stack.feed_forward.size,
            "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "layer_norm_epsilon": stack.norm.epsilon, "scale_attn_weights": stack.attention.scale is None,
            "tie_word_embeddings": config.embedding.sharing == "target"}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    yield from rename("target_embedding", "transformer.wte")
    yield from rename("decoder.position", "transformer.wpe")
    for layer in range(stack.layers):
        yield from block_rules(config.width, f"decoder.blocks.{layer}", f"transformer.h.{layer}")
    yield from rename("decoder.final_norm", "transformer.ln_f", BOTH)
    if isinstance(config.head, c.ClassificationHead):
        yield from rename("head", "score")
    else:
        yield from rename("head", "lm_head")


def block_rules(width: int, ours: str, theirs: str) -> Iterator[Rule]:
    """One block; GPT-1 has the same."""
    names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
    split = Split((width,) * 3)
    yield from fused(names, f"{theirs}.attn.c_attn", Chain((Transpose(), split)))
    yield from fused(names, f"{theirs}.attn.c_attn", split, ("bias",))
    for mine, other in (("self_attention.output", "attn.c_proj"), ("feed_forward.up", "mlp.c_fc"),
                        ("feed_forward.down", "mlp.c_proj")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", operation=Transpose())
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", ("bias",))
    yield from rename(f"{ours}.self_attention_norm", f"{theirs}.ln_1", BOTH)
    yield from rename(f"{ours}.feed_forward_norm", f"{theirs}.ln_2", BOTH)
