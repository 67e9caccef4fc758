"""Translation: a source text, a target text; scored by BLEU and chrF."""

from __future__ import annotations

from collections.abc import Sequence

from weft.data import Ragged
from weft.metrics import Score, bleu, chrf
from weft.spec.config import SpecialTokens
from weft.tasks.task import Encoded, Pair
from weft.text import Tokenizer

_CHUNK = 50_000
"""Pairs whose ids are Python lists at one time."""


class Translate:
    def sources(self, tokenizer: Tokenizer, texts: Sequence[str], special: SpecialTokens) -> list[list[int]]:
        return [[*ids, special.eos] for ids in tokenizer.encode_batch(texts)]

    def encode(self, tokenizer: Tokenizer, pairs: Sequence[Pair], special: SpecialTokens) -> Encoded:
        chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
        return Encoded(
            Ragged(row for chunk in chunks for row in self.sources(tokenizer, [source for source, _ in chunk], special)),
            Ragged(row for chunk in chunks for row in tokenizer.encode_batch([target for _, target in chunk])))

    def prediction(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
        return tokenizer.decode(tokens)

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        return [metric(predictions, references, confidence=confidence) for metric in (bleu, chrf)]


TASK = Translate()
