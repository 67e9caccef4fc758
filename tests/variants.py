"""Small configs that together use every part of a ModelConfig, for tests of what runs them. Vocabulary 40, window 48."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.families import rnn, transformer
from weft.spec import config as c

VOCABULARY = 40
PAPER = transformer.config(VOCABULARY, layers=2, width=16, heads=4, feed_forward=24, window=48)
DECODER = replace(PAPER, encoder=None, embedding=c.Embedding("target"))
ENCODER = replace(PAPER, decoder=None, embedding=c.Embedding("all"))
ATTENTION = c.Attention(4)


def change(config: c.ModelConfig = PAPER, **changes: Any) -> c.ModelConfig:
    """Fields of its stacks changed."""
    stacks = {name: None if stack is None else replace(stack, **changes)
              for name, stack in (("encoder", config.encoder), ("decoder", config.decoder))}
    return replace(config, **stacks)


def attend(config: c.ModelConfig = PAPER, **changes: Any) -> c.ModelConfig:
    return change(config, attention=replace(ATTENTION, **changes))


def turn(scaling: c.RotaryScaling, **changes: Any) -> c.ModelConfig:
    return change(DECODER, position=c.Rotary(scaling=scaling), **changes)


def headed(head: c.Head) -> c.ModelConfig:
    return replace(ENCODER, embedding=c.Embedding("none"), head=head)


ENCODER_DECODERS: dict[str, c.ModelConfig] = {
    "paper": PAPER,
    "halves": change(position=c.Sinusoidal(layout="halves", base=100.0, dimension=8)),
    "pre_norm": change(placement="pre", final_norm=True),
    "pre_normed": change(placement="pre_normed", final_norm=True),
    "sandwich_rms": change(placement="sandwich", norm=c.RMSNorm()),
    "no_bias_norm": change(norm=c.LayerNorm(1e-3, bias=False), embedding_norm=True),
    "learned": change(position=c.Learned(), embedding_norm=True),
    "rotary": change(position=c.Rotary()),
    "relative_bias": change(position=c.RelativeBias(8, 16)),
    "normed_residuals": change(placement="pre_normed"),
    "relative_bias_short": change(position=c.RelativeBias(5, 4)),
    "alibi": change(position=c.ALiBi()),
    "no_position": change(position=c.NoPosition()),
    "grouped": attend(key_value_heads=2, head_size=6, bias=False),
    "multi_query_norm": attend(key_value_heads=1, query_key_norm=c.RMSNorm()),
    "norm_of_heads": attend(query_key_norm=c.LayerNorm(), output_bias=False, scale=0.4),
    "soft_cap": attend(soft_cap=2.0),
    "window": attend(window=3),
    "window_of_one": attend(window=1),
    "gated": change(feed_forward=c.FeedForward(24, "silu", gated=True, bias=False)),
    "gelu": change(feed_forward=c.FeedForward(24, "gelu")),
    "deep_and_shallow": replace(PAPER, encoder=replace(PAPER.encoder, layers=3), decoder=replace(PAPER.decoder, layers=1)),
    "other_heads": replace(PAPER, encoder=replace(PAPER.encoder, attention=c.Attention(2, head_size=5))),
    "untied": replace(PAPER, embedding=c.Embedding("none", "none"), head=c.LanguageModelHead(bias=True)),
    "tied_with_bias": replace(PAPER, head=c.LanguageModelHead(bias=True)),
    "shared_inputs": replace(PAPER, embedding=c.Embedding("inputs"), head=c.LanguageModelHead(soft_cap=5.0)),
    "small_embedding": replace(PAPER, embedding=c.Embedding("none", size=10)),
    "embedding_projected_first": replace(PAPER, embedding=c.Embedding("none", size=20, projection="before")),
    "narrow_head": replace(PAPER, embedding=c.Embedding("none"), head=c.LanguageModelHead(
        transform=c.Transform("relu", c.RMSNorm(), size=7))),
    "labels_of_pairs": replace(PAPER, embedding=c.Embedding("inputs"), head=c.ClassificationHead(("a", "b"), "last")),
    "learned_offset": change(position=c.Learned(2), first_norm=False, placement="pre"),
    "sinusoidal_offset": change(position=c.Sinusoidal(layout="halves", inclusive=True, offset=2)),
    "transformed_head": replace(PAPER, head=c.LanguageModelHead(True, scale=0.5, transform=c.Transform(
        "gelu", c.LayerNorm()))),
}
DECODERS: dict[str, c.ModelConfig] = {
    "decoder_only": DECODER,
    "mapped_in_and_out": replace(DECODER, embedding=c.Embedding("target", "none", 10, projection="before"),
                                 head=c.LanguageModelHead(transform=c.Transform("none", bias=False, size=10))),
    "decoder_only_rotary_parallel": change(DECODER, position=c.Rotary(), placement="pre", residual="parallel",
                                           final_norm=True),
    "decoder_only_alibi": change(DECODER, position=c.ALiBi()),
    "decoder_only_alibi_rounded": change(DECODER, position=c.ALiBi(0.5, rounded=True)),
    "alibi_of_odd_heads": change(DECODER, position=c.ALiBi(), attention=c.Attention(6, 3, 7)),
    "decoder_only_relative": change(DECODER, position=c.RelativeBias(6, 9)),
    "parallel_norms": change(DECODER, placement="pre", residual="parallel_norms", position=c.Rotary(dimension=2)),
    "parallel_gated": change(DECODER, placement="pre", residual="parallel", attention=c.Attention(4, 1),
                             feed_forward=c.FeedForward(17, "gelu_tanh", gated=True)),
    "local_and_global": change(DECODER, position=c.Rotary(scaling=c.LinearScaling(4.0)), placement="sandwich",
                               norm=c.RMSNorm(offset=1.0), attention=replace(ATTENTION, window=3, scale=0.3),
                               pattern=("local", "global"), local_position=c.Rotary(100.0)),
    "pattern_of_three": change(DECODER, layers=5, pattern=("global", "local", "local"), attention=replace(
        ATTENTION, window=2, soft_cap=1.0)),
    "dynamic": turn(c.DynamicScaling(2.0, 4)),
    "llama3": turn(c.Llama3Scaling(8.0, 1.0, 4.0, 16), attention=replace(ATTENTION, output_bias=False)),
    "yarn": turn(c.YarnScaling(4.0, 8, 1.2)),
    "yarn_whole": turn(c.YarnScaling(4.0, 8, 1.2, 4.0, 0.5, truncate=False), attention=c.Attention(2, 2, 12)),
    "longrope": turn(c.LongRopeScaling((1.0, 1.5), (2.0, 6.0), 12, 1.3)),
    "head_of_one": attend(DECODER, head_size=1),
    "head_of_33": attend(DECODER, head_size=33, key_value_heads=2),
    "odd_width": replace(change(DECODER, attention=c.Attention(1), feed_forward=c.FeedForward(9, "silu", gated=True),
                                position=c.NoPosition()), width=13),
    "width_of_one": replace(change(DECODER, attention=c.Attention(1), feed_forward=c.FeedForward(1), norm=c.RMSNorm(),
                                   position=c.Learned()), width=1),
    "labels_of_texts": replace(DECODER, embedding=c.Embedding("none"), head=c.ClassificationHead(("a", "b"), "last")),
}
ENCODERS: dict[str, c.ModelConfig] = {
    "encoder_only": ENCODER,
    "masked": replace(ENCODER, head=c.LanguageModelHead(True, transform=c.Transform("gelu_tanh", c.LayerNorm()))),
    "types": replace(ENCODER, embedding=c.Embedding("none", "none", size=10, types=3)),
    "first": headed(c.ClassificationHead(("a", "b"), "first", transform=c.Transform("tanh", bias=False))),
    "mean": headed(c.ClassificationHead(("a", "b", "c"), "mean", bias=False, multi_label=True,
                                        transform=c.Transform("relu"))),
    "number": headed(c.ClassificationHead(("a",), "last", regression=True)),
    "tags": headed(c.TagHead(("a", "b", "c"), transform=c.Transform("silu"))),
    "vector": headed(c.EmbeddingHead("mean", normalise=True)),
    "first_vector": headed(c.EmbeddingHead("first")),
    "last_vector": headed(c.EmbeddingHead("last")),
    "local_encoder": change(ENCODER, layers=3, position=c.Rotary(), pattern=("global", "local"), first_norm=False,
                            placement="pre", final_norm=True, local_position=c.Rotary(50.0),
                            attention=replace(ATTENTION, window=3)),
    "rotary_dynamic": change(ENCODER, position=c.Rotary(scaling=c.DynamicScaling(3.0, 5))),
}
TRANSFORMERS = ENCODER_DECODERS | DECODERS | ENCODERS
RECURRENT: dict[str, c.ModelConfig] = {
    f"{bridge}_{cell}": rnn.config(VOCABULARY, 16, 12, layers=2, cell=cell, bridge=bridge, bidirectional=cell == "gru",
                                   window=32)
    for bridge in rnn.BRIDGES for cell in ("gru", "lstm")}


def parts(config: c.ModelConfig) -> set[str]:
    """What a config chooses: `norm=rms_norm`, `placement=pre`, ..., by the key that it stands under."""
    found = set()

    def walk(key: str, value: Any) -> None:
        if isinstance(value, dict):
            found.add(f"{key}={value.get('type', '')}")
            for inner, part in value.items():
                walk(inner, part)
        elif isinstance(value, (str, bool)):
            found.add(f"{key}={value}")

    walk("", config.to_dict())
    return found
