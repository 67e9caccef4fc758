"""No n-gram of the source: a token is forbidden that would make a run of n tokens of the source (Roller et al. 2020).

Of the prompt in a decoder-only model, as in Hugging Face's EncoderNoRepeatNGramLogitsProcessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.processors.no_repeat_ngram import without_ngrams
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class EncoderNoRepeatNgram:
    order: ClassVar[int] = 7
    shapes: ClassVar[bool] = False
    size: int

    @classmethod
    def from_options(cls, options: GenerationOptions) -> EncoderNoRepeatNgram | None:
        return cls(options.encoder_no_repeat_ngram) if options.encoder_no_repeat_ngram else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return without_ngrams(logits, rows.inputs, rows.histories, self.size)


PROCESSOR = EncoderNoRepeatNgram
