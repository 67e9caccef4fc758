"""Metrics, thin over the field's own libraries."""

from weft.metrics.compression import bits_per_character, perplexity
from weft.metrics.labels import accuracy, entity_f1
from weft.metrics.metric import Score
from weft.metrics.translation import bleu, chrf, moses_tokens, sacrebleu_metrics, tokenized_bleu

__all__ = ["Score", "accuracy", "bits_per_character", "bleu", "chrf", "entity_f1", "moses_tokens", "perplexity",
           "sacrebleu_metrics", "tokenized_bleu"]
