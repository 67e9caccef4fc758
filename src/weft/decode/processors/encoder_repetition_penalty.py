"""Encoder repetition penalty, or hallucination penalty: above 1 it favours what stands in the source.

The repetition penalty turned round, over the source, or the prompt of a decoder-only model, as in Hugging Face's
EncoderRepetitionPenaltyLogitsProcessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.processors.repetition_penalty import penalised
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class EncoderRepetitionPenalty:
    order: ClassVar[int] = 2
    shapes: ClassVar[bool] = False
    penalty: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> EncoderRepetitionPenalty | None:
        return cls(options.encoder_repetition_penalty) if options.encoder_repetition_penalty != 1.0 else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return penalised(logits, rows.inputs, 1.0 / self.penalty)


PROCESSOR = EncoderRepetitionPenalty
