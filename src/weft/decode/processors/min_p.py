"""Min-p: tokens less likely than p times the likeliest go (Nguyen et al. 2024, "Turning up the heat"). The best stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import keep
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class MinP:
    order: ClassVar[int] = 50
    shapes: ClassVar[bool] = True
    p: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> MinP | None:
        return cls(options.min_p) if options.min_p else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        least = logits.max(axis=1, keepdims=True) + np.float32(math.log(self.p))
        return keep(logits, logits >= least)


PROCESSOR = MinP
