"""What a task is: text to model inputs and targets, output back to a prediction, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weft.data import Ragged
from weft.metrics import Score
from weft.spec.config import SpecialTokens
from weft.text import Tokenizer

Pair = tuple[str, str]


@dataclass(frozen=True)
class Encoded:
    """Examples as ids. A source ends with eos; a target has neither start nor eos yet.

    lengths: int64 [N, 2], source with eos, and target with its start token (or eos).
    """

    sources: Ragged
    targets: Ragged

    @property
    def lengths(self) -> np.ndarray:
        return np.stack((self.sources.lengths, self.targets.lengths + 1), 1)

    def rows(self, kept: Sequence[int]) -> Encoded:
        return Encoded(self.sources.take(kept), self.targets.take(kept))


class Task(Protocol):
    """Four short methods; the loss is the decoder's cross-entropy."""

    def sources(self, tokenizer: Tokenizer, texts: Sequence[str], special: SpecialTokens) -> list[list[int]]:
        """Texts -> encoder ids."""
        ...

    def encode(self, tokenizer: Tokenizer, pairs: Sequence[Pair], special: SpecialTokens) -> Encoded:
        """Examples -> encoder ids and decoder targets."""
        ...

    def prediction(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
        """Generated ids, end-of-sequence left out or not -> text."""
        ...

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        """Default metrics, the first of them the one that training logs."""
        ...
