"""Typical sampling: the tokens whose surprise is nearest the distribution's entropy, up to mass p (Meister et al. 2022).

As in Hugging Face's TypicalLogitsWarper, the token that crosses p stays, with all that are as near as it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.nearest import nearest
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class TypicalP:
    order: ClassVar[int] = 60
    shapes: ClassVar[bool] = True
    p: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> TypicalP | None:
        return cls(options.typical_p) if options.typical_p < 1.0 else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        softmax = rows.softmax(logits)
        return nearest(logits, softmax, softmax.mean(logits), self.p)


PROCESSOR = TypicalP
