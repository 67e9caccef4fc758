"""Metrics, thin over the field's own libraries."""

from weft.metrics.labels import accuracy, entity_f1
from weft.metrics.metric import Score
from weft.metrics.translation import bleu, chrf, moses_tokens, tokenized_bleu

__all__ = ["Score", "accuracy", "bleu", "chrf", "entity_f1", "moses_tokens", "tokenized_bleu"]
