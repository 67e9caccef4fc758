"""BERT (Devlin et al. 2019): encoder-only, norms after, learned positions and segment types, masked words."""

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
           ("cls.predictions.decoder.bias", "tied to cls.predictions.bias"),
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
    foreign.expect("position_embedding_type", "absolute")
    foreign.expect("is_decoder", False)
    vocabulary, width = foreign.get("vocab_size", 30522), foreign.get("hidden_size", 768)
    length, epsilon = foreign.get("max_position_embeddings", 512), foreign.get("layer_norm_eps", 1e-12)
    activation = foreign.activation("hidden_act", "gelu")
    stack = c.TransformerStack(
        foreign.get("num_hidden_layers", 12), c.Attention(foreign.get("num_attention_heads", 12)),
        c.FeedForward(foreign.get("intermediate_size", 3072), activation),
        norm=c.LayerNorm(epsilon), placement="post", position=c.Learned(), embedding_norm=True)
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(True, transform=c.Transform(activation, c.LayerNorm(epsilon))),
        "classification": c.ClassificationHead(foreign.labels(), transform=c.Transform("tanh"),
                                               multi_label=foreign.multi_label),
        "tag": c.TagHead(foreign.labels()),
        "embedding": c.EmbeddingHead()}
    return c.ModelConfig(vocabulary, width, encoder=stack, head=heads[head], window=c.Window(length, length),
                         embedding=c.Embedding("all" if tied else "none", "none", types=foreign.get("type_vocab_size", 2)),
                         special=foreign.special(vocabulary, pad=0))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "bert", "vocab_size": config.vocabulary, "hidden_size": config.width,
            "num_hidden_layers": stack.layers, "num_attention_heads": stack.attention.heads,
            "intermediate_size": stack.feed_forward.size, "max_position_embeddings": config.window.source,
            "hidden_act": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "layer_norm_eps": stack.norm.epsilon,
            "type_vocab_size": config.embedding.types,
            "tie_word_embeddings": config.embedding.sharing == "all" or not isinstance(config.head, c.LanguageModelHead)}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    for mine, other in (("source_embedding", "word"), ("encoder.position", "position"), ("type_embedding", "token_type")):
        yield from rename(mine, f"bert.embeddings.{other}_embeddings")
    yield from rename("encoder.embedding_norm", "bert.embeddings.LayerNorm", BOTH)
    for layer in range(stack.layers):
        yield from block_rules(f"encoder.blocks.{layer}", f"bert.encoder.layer.{layer}")
    if isinstance(config.head, c.LanguageModelHead):
        yield from rename("head.transform", "cls.predictions.transform.dense", BOTH)
        yield from rename("head.transform_norm", "cls.predictions.transform.LayerNorm", BOTH)
        yield from rename("head", "cls.predictions.decoder")
        bias = "cls.predictions.bias" if config.embedding.sharing == "all" else "cls.predictions.decoder.bias"
        yield Rule(("head.bias",), (bias,))
    elif not isinstance(config.head, c.EmbeddingHead):
        if isinstance(config.head, c.ClassificationHead):
            yield from rename("head.transform", "bert.pooler.dense", BOTH)
        yield from rename("head", "classifier", BOTH)


def block_rules(ours: str, theirs: str) -> Iterator[Rule]:
    for mine, other in (("self_attention.query", "attention.self.query"), ("self_attention.key", "attention.self.key"),
                        ("self_attention.value", "attention.self.value"), ("self_attention.output", "attention.output.dense"),
                        ("self_attention_norm", "attention.output.LayerNorm"), ("feed_forward.up", "intermediate.dense"),
                        ("feed_forward.down", "output.dense"), ("feed_forward_norm", "output.LayerNorm")):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}", BOTH)
