"""BERT (Devlin et al. 2019): encoder-only, norms after, learned positions and segment types, masked words.

RoBERTa and ELECTRA are variations of it and build on `read_stack`, `write_with` and `encoder_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("bert",)
ARCHITECTURES = {"BertForMaskedLM": "language_model", "BertForPreTraining": "language_model",
                 "BertForSequenceClassification": "classification", "BertForTokenClassification": "tag",
                 "BertModel": "embedding"}
PREFIX = "bert."
DROPPED = (("bert.embeddings.position_ids", "the numbers 0, 1, 2, ..."),
           ("bert.pooler.*", "used by sentence-pair and classification heads only"),
           ("cls.seq_relationship.*", "the next-sentence head of pre-training"),
           ("cls.predictions.bias", "not used where the decoder is not tied"))
_TINY = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "tanh_gelu": {**_TINY, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
    "three_types": {**_TINY, "type_vocab_size": 3, "num_attention_heads": 2},
    "relu": {**_TINY, "hidden_act": "relu", "num_hidden_layers": 1},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary, length = foreign.get("vocab_size", 30522), foreign.get("max_position_embeddings", 512)
    stack = read_stack(foreign, c.Learned())
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(True, transform=c.Transform(stack.feed_forward.activation, stack.norm)),
        "classification": c.ClassificationHead(foreign.labels(), transform=c.Transform("tanh"),
                                               **foreign.problem),
        "tag": c.TagHead(foreign.labels()),
        "embedding": c.EmbeddingHead()}
    return c.ModelConfig(vocabulary, foreign.get("hidden_size", 768), encoder=stack, head=heads[head],
                         embedding=c.Embedding("all" if tied else "none", "none", types=foreign.get("type_vocab_size", 2)),
                         special=foreign.special(vocabulary, pad=0), window=c.Window(length, length))


def read_stack(foreign: ForeignConfig, position: c.Learned, *, layers: int = 12, heads: int = 12, size: int = 3072
               ) -> c.TransformerStack:
    """The encoder; layers, heads and size (of the feed-forward part) are the family's defaults."""
    foreign.expect("position_embedding_type", "absolute")
    foreign.expect("is_decoder", False)
    return c.TransformerStack(
        foreign.get("num_hidden_layers", layers), c.Attention(foreign.get("num_attention_heads", heads)),
        c.FeedForward(foreign.get("intermediate_size", size), foreign.activation("hidden_act", "gelu")),
        norm=c.LayerNorm(foreign.get("layer_norm_eps", 1e-12)), placement="post", position=position, embedding_norm=True)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "bert", **write_with(config), "max_position_embeddings": config.window.source}


def write_with(config: c.ModelConfig) -> dict[str, Any]:
    """What BERT and its variations share."""
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    return {"vocab_size": config.vocabulary, "hidden_size": config.width, "num_hidden_layers": stack.layers,
            "num_attention_heads": stack.attention.heads, "intermediate_size": stack.feed_forward.size,
            "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "layer_norm_eps": stack.norm.epsilon,
            "type_vocab_size": config.embedding.types,
            "tie_word_embeddings": config.embedding.sharing == "all" or not isinstance(config.head, c.LanguageModelHead)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from encoder_rules(config, "bert")
    if isinstance(config.head, c.LanguageModelHead):
        yield from rename("head.transform", "cls.predictions.transform.dense", BOTH)
        yield from rename("head.transform_norm", "cls.predictions.transform.LayerNorm", BOTH)
        yield from rename("head", "cls.predictions.decoder")
        yield bias_rule(config, "cls.predictions.bias", "cls.predictions.decoder.bias")
    elif not isinstance(config.head, c.EmbeddingHead):
        if isinstance(config.head, c.ClassificationHead):
            yield from rename("head.transform", "bert.pooler.dense", BOTH)
        yield from rename("head", "classifier", BOTH)


def bias_rule(config: c.ModelConfig, shared: str, own: str) -> Rule:
    """The bias of the output layer, which is stored beside it, as its own, or twice. Untied, transformers 4 kept them one."""
    if config.embedding.sharing == "all":
        return Rule(("head.bias",), (shared,), copies=(own,))
    return Rule(("head.bias",), (own,), instead=(shared,))


def encoder_rules(config: c.ModelConfig, model: str) -> Iterator[Rule]:
    """Embeddings and blocks. model: what their foreign names start with."""
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    for mine, other in (("source_embedding", "word"), ("encoder.position", "position"), ("type_embedding", "token_type")):
        yield from rename(mine, f"{model}.embeddings.{other}_embeddings")
    yield from rename("encoder.embedding_norm", f"{model}.embeddings.LayerNorm", BOTH)
    for layer in range(stack.layers):
        yield from block_rules(f"encoder.blocks.{layer}", f"{model}.encoder.layer.{layer}")


def block_rules(ours: str, theirs: str) -> Iterator[Rule]:
    for mine, other in (("self_attention.query", "attention.self.query"), ("self_attention.key", "attention.self.key"),
                        ("self_attention.value", "attention.self.value"), ("self_attention.output", "attention.output.dense"),
                        ("self_attention_norm", "attention.output.LayerNorm"), ("feed_forward.up", "intermediate.dense"),
                        ("feed_forward.down", "output.dense"), ("feed_forward_norm", "output.LayerNorm")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
