"""DistilBERT (Sanh et al. 2019): BERT with half the layers, without segment types and pooler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("distilbert",)
ARCHITECTURES = {"DistilBertForMaskedLM": "language_model", "DistilBertForSequenceClassification": "classification",
                 "DistilBertForTokenClassification": "tag", "DistilBertModel": "embedding"}
PREFIX = "distilbert."
DROPPED = (("distilbert.embeddings.position_ids", "the numbers 0, 1, 2, ..."),)
IGNORED = ("sinusoidal_pos_embds",  # how positions were initialised; they are stored like learned ones
           "tie_weights_", "qa_dropout", "seq_classif_dropout")
SIZES = {"distilbert-base": (6, 768, 12)}
EPSILON = 1e-12
_TINY = {"vocab_size": 61, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53},
    "relu": {**_TINY, "activation": "relu", "n_layers": 1},
    "tanh_gelu": {**_TINY, "activation": "gelu_new", "n_heads": 2},
    "sinusoidal": {**_TINY, "sinusoidal_pos_embds": True, "n_layers": 3},
    "narrow_feed_forward": {**_TINY, "hidden_dim": 20, "pad_token_id": 3},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary, length = foreign.get("vocab_size", 30522), foreign.get("max_position_embeddings", 512)
    activation, norm = foreign.activation("activation", "gelu"), c.LayerNorm(EPSILON)
    stack = c.TransformerStack(
        foreign.get("n_layers", 6), c.Attention(foreign.get("n_heads", 12)),
        c.FeedForward(foreign.get("hidden_dim", 3072), activation),
        norm=norm, placement="post", position=c.Learned(), embedding_norm=True)
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(True, transform=c.Transform(activation, norm)),
        "classification": c.ClassificationHead(foreign.labels(), transform=c.Transform("relu"),
                                               **foreign.problem),
        "tag": c.TagHead(foreign.labels()),
        "embedding": c.EmbeddingHead()}
    return c.ModelConfig(vocabulary, foreign.get("dim", 768), encoder=stack, head=heads[head],
                         embedding=c.Embedding("all" if tied else "none", "none"),
                         special=foreign.special(vocabulary, pad=0), window=c.Window(length, length))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "distilbert", "vocab_size": config.vocabulary, "dim": config.width, "n_layers": stack.layers,
            "n_heads": stack.attention.heads, "hidden_dim": stack.feed_forward.size,
            "max_position_embeddings": config.window.source,
            "activation": FOREIGN_ACTIVATIONS[stack.feed_forward.activation],
            "tie_word_embeddings": config.embedding.sharing == "all" or not isinstance(config.head, c.LanguageModelHead)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    yield from rename("source_embedding", "distilbert.embeddings.word_embeddings")
    yield from rename("encoder.position", "distilbert.embeddings.position_embeddings")
    yield from rename("encoder.embedding_norm", "distilbert.embeddings.LayerNorm", BOTH)
    for layer in range(stack.layers):
        yield from block_rules(f"encoder.blocks.{layer}", f"distilbert.transformer.layer.{layer}")
    if isinstance(config.head, c.LanguageModelHead):
        yield from rename("head.transform", "vocab_transform", BOTH)
        yield from rename("head.transform_norm", "vocab_layer_norm", BOTH)
        yield from rename("head", "vocab_projector", BOTH)
    elif not isinstance(config.head, c.EmbeddingHead):
        if isinstance(config.head, c.ClassificationHead):
            yield from rename("head.transform", "pre_classifier", BOTH)
        yield from rename("head", "classifier", BOTH)


def block_rules(ours: str, theirs: str) -> Iterator[Rule]:
    for mine, other in (("self_attention.query", "attention.q_lin"), ("self_attention.key", "attention.k_lin"),
                        ("self_attention.value", "attention.v_lin"), ("self_attention.output", "attention.out_lin"),
                        ("self_attention_norm", "sa_layer_norm"), ("feed_forward.up", "ffn.lin1"),
                        ("feed_forward.down", "ffn.lin2"), ("feed_forward_norm", "output_layer_norm")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
