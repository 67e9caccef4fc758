"""Top-p, the nucleus: the smallest set of likeliest tokens whose probabilities reach p (Holtzman et al. 2019).

The token that crosses p stays, and so does always one, as in Hugging Face's TopPLogitsWarper. All that tie with it stay
too, so that sorted values are enough: sorting ids along takes ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

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
        rising = np.sort(logits, axis=1)
        probabilities = np.exp((rising - rising[:, -1:]).astype(np.float64))
        below = probabilities.cumsum(axis=1) <= (1.0 - self.p) * probabilities.sum(axis=1, keepdims=True)
        below[:, -1] = False
        smallest = np.take_along_axis(rising, below.sum(axis=1, keepdims=True), 1)
        return np.where(logits < smallest, np.float32(-np.inf), logits)


PROCESSOR = TopP
