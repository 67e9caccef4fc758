"""Metrics, thin over the field's own libraries."""

from weft.metrics.metric import Score
from weft.metrics.translation import bleu, chrf, moses_tokens, tokenized_bleu

__all__ = ["Score", "bleu", "chrf", "moses_tokens", "tokenized_bleu"]
