"""Banned words: the last id of a word is forbidden where those before it have just come.

They may have come at the end of the prompt, as in Hugging Face's NoBadWordsLogitsProcessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class BannedWords:
    order: ClassVar[int] = 8
    shapes: ClassVar[bool] = False
    words: tuple[tuple[int, ...], ...]

    @classmethod
    def from_options(cls, options: GenerationOptions) -> BannedWords | None:
        return cls(options.banned_words) if options.banned_words else None

    @cached_property
    def _by_length(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Beginnings [K, M] and last ids [K] of the words of each length, so that one comparison does them all."""
        lengths = sorted({len(word) for word in self.words})
        groups = (np.array([word for word in self.words if len(word) == length], np.int64) for length in lengths)
        return [(group[:, :-1], group[:, -1]) for group in groups]

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        history = rows.histories
        for beginnings, last in self._by_length:
            length = beginnings.shape[1]
            if length <= history.shape[1]:
                just_come = history[:, None, history.shape[1] - length :]
                row, word = np.nonzero((just_come == beginnings).all(2))
                logits[row, last[word]] = -np.inf
        return logits


PROCESSOR = BannedWords
