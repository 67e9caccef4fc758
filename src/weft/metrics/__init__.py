"""Metrics, thin over the field's own libraries."""

from weft.metrics.metric import Score
from weft.metrics.translation import bleu, chrf, tokenized_bleu

__all__ = ["Score", "bleu", "chrf", "tokenized_bleu"]
