"""No repeated n-gram: a token is forbidden that would make a run of n tokens come twice (Paulus et al. 2017, section 2.5).

The prompt counts, the start token too, as in Hugging Face's NoRepeatNGramLogitsProcessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class NoRepeatNgram:
    order: ClassVar[int] = 6
    shapes: ClassVar[bool] = False
    size: int

    @classmethod
    def from_options(cls, options: GenerationOptions) -> NoRepeatNgram | None:
        return cls(options.no_repeat_ngram) if options.no_repeat_ngram else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return without_ngrams(logits, rows.histories, rows.histories, self.size)


def without_ngrams(logits: np.ndarray, text: np.ndarray, history: np.ndarray, size: int) -> np.ndarray:
    """logits [R, V], written to, without the tokens that would end a run of `size` ids of `text` after `history`.

    Both are int64 [R, N] and stand on the right, after -1s.
    """
    runs, first = text.shape[1] + 1 - size, history.shape[1] + 1 - size
    if min(runs - 1, first) < 0:
        return logits
    begun = text[:, :runs] >= 0
    for place in range(size - 1):
        begun &= text[:, place : place + runs] == history[:, first + place, None]
    row, run = np.nonzero(begun)
    logits[row, text[row, run + size - 1]] = -np.inf
    return logits


PROCESSOR = NoRepeatNgram
