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
        out = logits.copy()
        lower = np.take_along_axis(logits, rows.tokens, 1) - np.float32(self.penalty)
        np.put_along_axis(out, rows.tokens, lower, 1)
        return out


PROCESSOR = PresencePenalty
