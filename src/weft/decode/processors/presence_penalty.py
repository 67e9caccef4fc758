"""Presence penalty: taken from the logit of every token that was generated, once; the prompt does not count.

The formula is OpenAI's (API reference, "Frequency and presence penalties"), which vLLM follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class PresencePenalty:
    order: ClassVar[int] = 4
    shapes: ClassVar[bool] = False
    penalty: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> PresencePenalty | None:
        return cls(options.presence_penalty) if options.presence_penalty else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        generated = np.arange(len(logits))[:, None], rows.tokens
        logits[generated] = logits[generated] - np.float32(self.penalty)  # of a token that came twice, twice the same
        return logits


PROCESSOR = PresencePenalty
