"""RoBERTa (Liu et al. 2019): BERT whose positions start after the padding id; XLM-R (Conneau et al. 2020) is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.errors import ConfigError
from weft.families.bert import bias_rule, encoder_rules, read_stack, write_with
from weft.families.foreign import ForeignConfig
from weft.families.rules import BOTH, Rule, rename
from weft.spec import config as c

MODEL_TYPES = ("roberta", "xlm-roberta")
_KINDS = {"ForMaskedLM": "language_model", "ForSequenceClassification": "classification", "ForTokenClassification": "tag",
          "Model": "embedding"}
ARCHITECTURES = {f"{name}{suffix}": kind for name in ("Roberta", "XLMRoberta") for suffix, kind in _KINDS.items()}
PREFIX = "roberta."
DROPPED = (("roberta.embeddings.position_ids", "the numbers 0, 1, 2, ..."),
           ("roberta.pooler.*", "trained by nothing and used by no head"),
           ("lm_head.bias", "not used where the decoder is not tied"))
SIZES = {"roberta-base": (12, 768, 12), "roberta-large": (24, 1024, 16)}
_TINY = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "late_padding": {**_TINY, "pad_token_id": 3, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53, "pad_token_id": 1, "bos_token_id": 0},
    "tanh_gelu": {**_TINY, "hidden_act": "gelu_new", "num_attention_heads": 2},
    "relu": {**_TINY, "hidden_act": "relu", "num_hidden_layers": 1, "type_vocab_size": 3},
    "multilingual": {**_TINY, "model_type": "xlm-roberta", "pad_token_id": 1, "bos_token_id": 0},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary = foreign.get("vocab_size", 50265)
    special = foreign.special(vocabulary, pad=1, bos=0, eos=2)
    offset = special.pad + 1  # padding keeps its own row, text starts after it
    length = foreign.get("max_position_embeddings", 512) - offset
    if length < 1:
        raise ConfigError(f"the checkpoint's config.json has max_position_embeddings = {length + offset} and pad_token_id = "
                          f"{special.pad}; positions start after the padding id, so that none is left")
    stack = read_stack(foreign, c.Learned(offset))
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(True, transform=c.Transform("gelu", stack.norm)),
        "classification": c.ClassificationHead(foreign.labels(), transform=c.Transform("tanh"),
                                               **foreign.problem),
        "tag": c.TagHead(foreign.labels()),
        "embedding": c.EmbeddingHead()}
    return c.ModelConfig(vocabulary, foreign.get("hidden_size", 768), encoder=stack, head=heads[head],
                         embedding=c.Embedding("all" if tied else "none", "none", types=foreign.get("type_vocab_size", 2)),
                         special=special, window=c.Window(length, length))


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    return {"model_type": "roberta", **write_with(config),
            "max_position_embeddings": config.window.source + config.special.pad + 1}


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    yield from encoder_rules(config, "roberta")
    if isinstance(config.head, c.LanguageModelHead):
        yield from rename("head.transform", "lm_head.dense", BOTH)
        yield from rename("head.transform_norm", "lm_head.layer_norm", BOTH)
        yield from rename("head", "lm_head.decoder")
        yield bias_rule(config, "lm_head.bias", "lm_head.decoder.bias")
    elif isinstance(config.head, c.ClassificationHead):
        yield from rename("head.transform", "classifier.dense", BOTH)
        yield from rename("head", "classifier.out_proj", BOTH)
    elif isinstance(config.head, c.TagHead):
        yield from rename("head", "classifier", BOTH)
