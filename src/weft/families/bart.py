"""BART (Lewis et al. 2020): encoder-decoder, norms after, learned positions, a norm on the embeddings.

mBART, M2M100, Marian and Pegasus are variations of it: they say what their stacks look like and share the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Reshape, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("bart",)
ARCHITECTURES = {"BartForConditionalGeneration": "language_model", "BartModel": "language_model",
                 "BartForSequenceClassification": "classification"}
PREFIX = "model."
DROPPED = (("model.shared.weight", "not used where embeddings are not tied"),
           ("model.*coder.version", "a number of the library it was trained with"))
IGNORED = ("add_bias_logits", "classif_dropout", "encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers",
           "do_blenderbot_90_layernorm", "extra_pos_embeddings", "replacing_rate", "save_step", "student_encoder_layers",
           "student_decoder_layers", "author", "kobart_version")
SIZES = {"bart-base": (6, 768, 12, 3072), "bart-large": (12, 1024, 16, 4096)}
"""layers of each stack, width, heads, feed-forward size"""
TINY = {"vocab_size": 61, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 40}
LOPSIDED = {"encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 6,
            "encoder_ffn_dim": 20, "decoder_ffn_dim": 44}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": TINY,
    "untied": {**TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "lopsided": {**TINY, **LOPSIDED},
    "scaled": {**TINY, "scale_embedding": True, "activation_function": "gelu_new"},
    "relu_one_layer": {**TINY, "activation_function": "relu", "encoder_layers": 1, "vocab_size": 67},
}
STACK = c.TransformerStack(0, c.Attention(1), c.FeedForward(1), placement="post", position=c.Learned(2), embedding_norm=True)
SPECIAL = {"pad": 1, "bos": 0, "eos": 2, "start": 2}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    base = foreign.get("architectures", [""])[0] == "BartModel"  # has no final_logits_bias
    return read_with(foreign, head, STACK, foreign.get("vocab_size", 50265), SPECIAL, bias=not base)


def read_with(foreign: ForeignConfig, head: str, stack: c.TransformerStack, vocabulary: int, special: dict[str, int], *,
              bias: bool = True, tied: str = "all", activation: str = "gelu", scaled: bool = False) -> c.ModelConfig:
    """A config from the keys that BART and its variations share.

    stack: what both stacks look like, but for the sizes. bias: of a language model's output layer. tied: sharing of a language
    model, unless the config unties it. special, activation, scaled: defaults.
    """
    _expect(foreign, stack)
    width, length = foreign.get("d_model", 1024), foreign.get("max_position_embeddings", 1024)
    known = foreign.activation("activation_function", activation)

    def sized(name: str) -> c.TransformerStack:
        return replace(stack, layers=foreign.get(f"{name}_layers", 12),
                       attention=c.Attention(foreign.get(f"{name}_attention_heads", 16)),
                       feed_forward=c.FeedForward(foreign.get(f"{name}_ffn_dim", 4096), known))

    sharing: Any = tied if foreign.get("tie_word_embeddings", True) else "none"
    if head == "classification" and sharing != "none":
        sharing = "inputs"
    scale: Any = "sqrt_width" if foreign.get("scale_embedding", scaled) else "none"
    return c.ModelConfig(vocabulary, width, encoder=sized("encoder"), decoder=sized("decoder"),
                         embedding=c.Embedding(sharing, scale),
                         head=c.LanguageModelHead(bias=bias) if head == "language_model" else read_classifier(foreign),
                         special=foreign.special(vocabulary, **special), window=c.Window(length, length))


def read_classifier(foreign: ForeignConfig) -> c.ClassificationHead:
    """By what the decoder says of the end of a text that it reads again."""
    return c.ClassificationHead(foreign.labels(), "last", transform=c.Transform("tanh"), **foreign.problem)


def _expect(foreign: ForeignConfig, stack: c.TransformerStack) -> None:
    """Switches of the time when one class did all of these models: they must say what the family does anyway."""
    for key, value in (("normalize_before", stack.placement == "pre"), ("add_final_layer_norm", stack.final_norm),
                       ("normalize_embedding", stack.embedding_norm),
                       ("static_position_embeddings", isinstance(stack.position, c.Sinusoidal))):
        foreign.expect(key, value)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    base = isinstance(config.head, c.LanguageModelHead) and not config.head.bias
    return {"model_type": "bart", **({"architectures": ["BartModel"]} if base else {}), **write_with(config)}


def write_with(config: c.ModelConfig) -> dict[str, Any]:
    """What BART and its variations share."""
    values: dict[str, Any] = {}
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        assert isinstance(stack, c.TransformerStack)
        values |= {f"{name}_layers": stack.layers, f"{name}_attention_heads": stack.attention.heads,
                   f"{name}_ffn_dim": stack.feed_forward.size,
                   "activation_function": FOREIGN_ACTIVATIONS[stack.feed_forward.activation]}
    return {"vocab_size": config.vocabulary, "d_model": config.width, **values, "is_encoder_decoder": True,
            "max_position_embeddings": config.window.target, "scale_embedding": config.embedding.scale == "sqrt_width",
            "tie_word_embeddings": config.embedding.sharing != "none"}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from embedding_rules(config)
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        assert isinstance(stack, c.TransformerStack)
        if isinstance(stack.position, c.Learned):
            yield from rename(f"{name}.position", f"model.{name}.embed_positions")
        if stack.embedding_norm:
            yield from rename(f"{name}.embedding_norm", f"model.{name}.layernorm_embedding", BOTH)
        for layer in range(stack.layers):
            yield from block_rules(f"{name}.blocks.{layer}", f"model.{name}.layers.{layer}", cross=name == "decoder")
        if stack.final_norm:
            yield from rename(f"{name}.final_norm", f"model.{name}.layer_norm", BOTH)
    if isinstance(config.head, c.LanguageModelHead) and config.head.bias:
        yield Rule(("head.bias",), ("final_logits_bias",), Reshape((1, config.vocabulary), (config.vocabulary,)))
    elif isinstance(config.head, c.ClassificationHead):
        yield from classifier_rules()


def classifier_rules() -> Iterator[Rule]:
    yield from rename("head.transform", "classification_head.dense", BOTH)
    yield from rename("head", "classification_head.out_proj", BOTH)


def embedding_rules(config: c.ModelConfig) -> Iterator[Rule]:
    """The matrices of source, target and output layer; files hold one or more of the names of those that are tied."""
    shared, source, target = (f"model.{name}.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"))
    sharing, head = config.embedding.sharing, isinstance(config.head, c.LanguageModelHead)
    if sharing in ("all", "inputs"):
        copies = (source, target, *(("lm_head.weight",) if sharing == "all" else ()))
        yield Rule(("source_embedding.weight",), (shared,), copies=copies)
    else:
        yield Rule(("source_embedding.weight",), (source,), instead=(shared,))
        yield Rule(("target_embedding.weight",), (target,), instead=(shared,))
    if head and sharing != "all":
        yield from rename("head", "lm_head")


def block_rules(ours: str, theirs: str, cross: bool) -> Iterator[Rule]:
    attentions = [("self_attention", "self_attn"), *([("cross_attention", "encoder_attn")] if cross else [])]
    for mine, other in attentions:
        for part, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "out_proj")):
            yield from rename(f"{ours}.{mine}.{part}", f"{theirs}.{other}.{name}", BOTH)
        yield from rename(f"{ours}.{mine}_norm", f"{theirs}.{other}_layer_norm", BOTH)
    for mine, other in (("feed_forward.up", "fc1"), ("feed_forward.down", "fc2"), ("feed_forward_norm", "final_layer_norm")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
