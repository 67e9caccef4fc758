"""Forced last token: the one at the length limit, such as end-of-sequence; Hugging Face's forced_eos_token_id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.processors.forced_first import only
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class ForcedLast:
    order: ClassVar[int] = 12
    shapes: ClassVar[bool] = False
    token: int

    @classmethod
    def from_options(cls, options: GenerationOptions) -> ForcedLast | None:
        return None if options.forced_last is None else cls(options.forced_last)

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        at_limit = np.array([rows.remaining(row) == 1 for row in range(len(logits))])
        return np.where(at_limit[:, None], only(logits, self.token), logits) if at_limit.any() else logits


PROCESSOR = ForcedLast
