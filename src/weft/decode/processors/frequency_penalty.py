"""Frequency penalty: taken from a token's logit once for each time it was generated; the prompt does not count.

The formula is OpenAI's (API reference, "Frequency and presence penalties"), which vLLM follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class FrequencyPenalty:
    order: ClassVar[int] = 5
    shapes: ClassVar[bool] = False
    penalty: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> FrequencyPenalty | None:
        return cls(options.frequency_penalty) if options.frequency_penalty else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        places = rows.tokens + np.arange(len(logits))[:, None] * logits.shape[1]
        generated, counts = np.unique(places, return_counts=True)
        logits[divmod(generated, logits.shape[1])] -= np.float32(self.penalty) * counts.astype(np.float32)
        return logits


PROCESSOR = FrequencyPenalty
