"""T5 1.0, T5 1.1 and FLAN-T5 (Raffel et al. 2020; Chung et al. 2022): encoder-decoder, relative biases, RMSNorm before.

Nothing has a bias and scores are not scaled. The head of 1.0 is the embedding, its input scaled; 1.1 has a head of its
own and gated feed-forward parts. mT5 is 1.1 and builds on this file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

from weft.families.bart import classifier_rules, read_classifier
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("t5",)
ARCHITECTURES = {"T5ForConditionalGeneration": "language_model", "T5WithLMHeadModel": "language_model",
                 "T5ForSequenceClassification": "classification"}
PREFIX = ""
DROPPED = (("*decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", "not used: a source has no distance"),)
IGNORED = ("initializer_factor", "num_hidden_layers")
SIZES = {"t5-small": (6, 512, 8, 2048), "t5-base": (12, 768, 12, 3072), "t5-large": (24, 1024, 16, 4096),
         "t5-v1_1-small": (8, 512, 6, 1024), "flan-t5-base": (12, 768, 12, 2048), "flan-t5-large": (24, 1024, 16, 2816),
         "flan-t5-xl": (24, 2048, 32, 5120), "flan-t5-xxl": (24, 4096, 64, 10240)}
"""layers of each stack, width, heads (of 64), feed-forward size"""
HEAD, TABLES = "lm_head.weight", ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Names of the output layer's matrix, and of the embedding's."""
TINY = {"vocab_size": 61, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 10}
V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": TINY,
    "v1_1": {**TINY, **V1_1, "vocab_size": 53},
    "odd_head_lopsided": {**TINY, "d_kv": 7, "num_heads": 3, "num_layers": 1, "num_decoder_layers": 3},
    "gated_silu": {**TINY, "feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 6, "layer_norm_epsilon": 1e-3},
    "untied_relu": {**TINY, "tie_word_embeddings": False, "relative_attention_max_distance": 6, "num_decoder_layers": 1},
    "gelu_wide_buckets": {**TINY, "feed_forward_proj": "gelu", "relative_attention_num_buckets": 32, "d_ff": 20},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    tied = foreign.get("tie_word_embeddings", True)
    scaled = foreign.get("scale_decoder_outputs", tied)
    return read_with(foreign, head, foreign.get("vocab_size", 32128), tied=tied, scaled=scaled)


def read_with(foreign: ForeignConfig, head: str, vocabulary: int, *, tied: bool, scaled: bool, window: int = 512,
              layers: int = 6, heads: int = 8, size: int = 2048, feed_forward: str = "relu") -> c.ModelConfig:
    """A config from the keys that T5 and mT5 share, if files say nothing else (`settle`); window, layers, heads, size and
    feed_forward: defaults."""
    width, layers = foreign.get("d_model", 512), foreign.get("num_layers", layers)
    position = c.RelativeBias(foreign.get("relative_attention_num_buckets", 32),
                              foreign.get("relative_attention_max_distance", 128))

    def stack(layers: int, attention: c.Attention, inner: c.FeedForward) -> c.TransformerStack:
        return c.TransformerStack(layers, attention, inner, norm=c.RMSNorm(foreign.get("layer_norm_epsilon", 1e-6)),
                                  placement="pre", position=position, final_norm=True)

    parts = (c.Attention(foreign.get("num_heads", heads), head_size=foreign.get("d_kv", 64), bias=False, scale=1.0),
             _feed_forward(foreign, foreign.get("d_ff", size), feed_forward))
    length = foreign.get("n_positions", window)
    speaks = head == "language_model"
    return c.ModelConfig(
        vocabulary, width, encoder=stack(layers, *parts), decoder=stack(foreign.get("num_decoder_layers", layers), *parts),
        embedding=c.Embedding("all" if tied and speaks else "inputs", "none"),
        head=c.LanguageModelHead(scale=width**-0.5 if scaled else 1.0) if speaks else read_classifier(foreign),
        special=foreign.special(vocabulary, pad=0, eos=1, start=0), window=c.Window(length, length))


def settle(config: c.ModelConfig, names: Collection[str], same: Callable[[str, str], bool]) -> c.ModelConfig:
    """The head has a matrix of its own if files hold one, and is the embedding if not. transformers 5 goes by that, and always
    writes that they are tied; so do mT5's files, or the contrary, for the same model."""
    if not isinstance(config.head, c.LanguageModelHead):
        return config
    tied = config.embedding.sharing == "all"
    own = HEAD in names and not (tied and any(name in names and same(HEAD, name) for name in TABLES))
    return replace(config, embedding=replace(config.embedding, sharing="inputs" if own else "all"))


def _feed_forward(foreign: ForeignConfig, size: int, default: str) -> c.FeedForward:
    """From `feed_forward_proj`, e.g. "relu" or "gated-gelu", which is that with tanh; newer files say its parts again."""
    kind = foreign.get("feed_forward_proj", default)
    gated, name = kind.startswith("gated-"), "gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-")
    foreign.expect("is_gated_act", gated)
    foreign.expect("dense_act_fn", name)
    return c.FeedForward(size, foreign.activation("dense_act_fn", name), gated, bias=False)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    scaled = isinstance(config.head, c.LanguageModelHead) and config.head.scale != 1.0
    return {"model_type": "t5", **write_with(config), "tie_word_embeddings": config.embedding.sharing == "all",
            "scale_decoder_outputs": scaled}


def write_with(config: c.ModelConfig) -> dict[str, Any]:
    """What T5 and mT5 share."""
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, c.TransformerStack) and isinstance(decoder, c.TransformerStack)
    assert isinstance(decoder.position, c.RelativeBias)
    inner = decoder.feed_forward
    name = FOREIGN_ACTIVATIONS[inner.activation]
    kind = {"gelu_new": "gated-gelu", "gelu": "gated-gelu_python"}.get(name, f"gated-{name}") if inner.gated else name
    return {"vocab_size": config.vocabulary, "d_model": config.width, "d_kv": config.head_size(decoder.attention),
            "d_ff": inner.size, "num_layers": encoder.layers, "num_decoder_layers": decoder.layers,
            "num_heads": decoder.attention.heads, "relative_attention_num_buckets": decoder.position.buckets,
            "relative_attention_max_distance": decoder.position.max_distance, "feed_forward_proj": kind,
            "layer_norm_epsilon": decoder.norm.epsilon, "n_positions": config.window.target, "is_encoder_decoder": True}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    if isinstance(config.head, c.LanguageModelHead):
        yield from _body_rules(config, (HEAD,) if config.embedding.sharing == "all" else ())
        if config.embedding.sharing != "all":
            yield from rename("head", "lm_head")
    else:
        yield from (rule.within("transformer.") for rule in _body_rules(config, ()))
        yield from classifier_rules()


def _body_rules(config: c.ModelConfig, copies: tuple[str, ...]) -> Iterator[Rule]:
    """All but the head. copies: names under which files may hold the embedding besides its own."""
    yield Rule(("source_embedding.weight",), TABLES[:1], copies=(*TABLES[1:], *copies))
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        assert isinstance(stack, c.TransformerStack)
        yield from rename(f"{name}.relative_bias", f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias")
        for layer in range(stack.layers):
            yield from block_rules(stack, f"{name}.blocks.{layer}", f"{name}.block.{layer}.layer", cross=name == "decoder")
        yield from rename(f"{name}.final_norm", f"{name}.final_layer_norm")


def block_rules(stack: c.TransformerStack, ours: str, theirs: str, cross: bool) -> Iterator[Rule]:
    attentions = [("self_attention", "SelfAttention"), *([("cross_attention", "EncDecAttention")] if cross else [])]
    for i, (mine, other) in enumerate(attentions):
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            yield from rename(f"{ours}.{mine}.{part}", f"{theirs}.{i}.{other}.{letter}")
        yield from rename(f"{ours}.{mine}_norm", f"{theirs}.{i}.layer_norm")
    inner = f"{theirs}.{len(attentions)}"
    ups = (("gate", "wi_0"), ("up", "wi_1")) if stack.feed_forward.gated else (("up", "wi"),)
    for mine, other in (*ups, ("down", "wo")):
        yield from rename(f"{ours}.feed_forward.{mine}", f"{inner}.DenseReluDense.{other}")
    yield from rename(f"{ours}.feed_forward_norm", f"{inner}.layer_norm")
