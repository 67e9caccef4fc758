"""Top-p, the nucleus: the smallest set of likeliest tokens whose probabilities reach p (Holtzman et al. 2019).

The token that crosses p stays, and so does always one, as in Hugging Face's TopPLogitsWarper. All that tie with it stay
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.nearest import nearest
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class TopP:
    order: ClassVar[int] = 40
    shapes: ClassVar[bool] = True
    p: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> TopP | None:
        return cls(options.top_p) if options.top_p < 1.0 else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        softmax = rows.softmax(logits)
        return nearest(logits, softmax, softmax.highest, self.p)


PROCESSOR = TopP
