"""ELECTRA (Clark et al. 2020): BERT that says of each token whether it was replaced; embeddings may be narrower.

Its generator of masked words maps the hidden state to the size of the embeddings, which its output layer shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.bert import encoder_rules, read_stack, write_with
from weft.families.foreign import ForeignConfig
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("electra",)
ARCHITECTURES = {"ElectraForPreTraining": "tag", "ElectraForSequenceClassification": "classification",
                 "ElectraForTokenClassification": "tag", "ElectraForMaskedLM": "language_model", "ElectraModel": "embedding"}
PREFIX = "electra."
DROPPED = (("electra.embeddings.position_ids", "the numbers 0, 1, 2, ..."),
           ("discriminator_predictions.*", "the head of pre-training"),
           ("generator_*", "the head of pre-training"))
IGNORED = ("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")  # of multiple choice only
SIZES = {"electra-small": (12, 256, 4), "electra-base": (12, 768, 12), "electra-large": (24, 1024, 16)}
_TINY = {"vocab_size": 61, "hidden_size": 24, "embedding_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 40, "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "no_projection": {**_TINY, "embedding_size": 24, "vocab_size": 53},
    "wide_embedding": {**_TINY, "embedding_size": 36, "num_hidden_layers": 1},
    "relu": {**_TINY, "hidden_act": "relu", "num_attention_heads": 2},
    "three_types": {**_TINY, "type_vocab_size": 3, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new"},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary, width = foreign.get("vocab_size", 30522), foreign.get("hidden_size", 256)
    length, size = foreign.get("max_position_embeddings", 512), foreign.get("embedding_size", 128)
    stack = read_stack(foreign, c.Learned(), heads=4, size=1024)
    labels = foreign.labels()
    heads: dict[str, c.Head] = {
        "classification": c.ClassificationHead(labels, transform=c.Transform("gelu"), **foreign.problem),
        "tag": c.TagHead(labels) if _is_tagger(foreign) else
        c.TagHead(labels if len(labels) == 1 else ("replaced",), transform=c.Transform(stack.feed_forward.activation)),
        "language_model": c.LanguageModelHead(True, transform=c.Transform("gelu", stack.norm,
                                                                          size=None if size == width else size)),
        "embedding": c.EmbeddingHead()}
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    return c.ModelConfig(vocabulary, width, encoder=stack, head=heads[head], special=foreign.special(vocabulary, pad=0),
                         embedding=c.Embedding("all" if tied else "none", "none", None if size == width else size,
                                               foreign.get("type_vocab_size", 2)),
                         window=c.Window(length, length))


def _is_tagger(foreign: ForeignConfig) -> bool:
    return "ElectraForTokenClassification" in foreign.get("architectures", [])


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    tagger = isinstance(config.head, c.TagHead) and config.head.transform is None
    named = {"architectures": ["ElectraForTokenClassification"]} if tagger else {}
    return {"model_type": "electra", **write_with(config), **named, "embedding_size": config.embedding_size,
            "max_position_embeddings": config.window.source}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from encoder_rules(config, "electra")
    if config.embedding_size != config.width:
        yield from rename("embedding_projection", "electra.embeddings_project", BOTH)
    if isinstance(config.head, c.ClassificationHead):
        yield from rename("head.transform", "classifier.dense", BOTH)
        yield from rename("head", "classifier.out_proj", BOTH)
    elif isinstance(config.head, c.LanguageModelHead):
        yield from rename("head.transform", "generator_predictions.dense", BOTH)
        yield from rename("head.transform_norm", "generator_predictions.LayerNorm", BOTH)
        yield from rename("head", "generator_lm_head", BOTH)
    elif isinstance(config.head, c.TagHead) and config.head.transform is not None:
        yield from rename("head.transform", "discriminator_predictions.dense", BOTH)
        yield from rename("head", "discriminator_predictions.dense_prediction", BOTH)
    elif isinstance(config.head, c.TagHead):
        yield from rename("head", "classifier", BOTH)
