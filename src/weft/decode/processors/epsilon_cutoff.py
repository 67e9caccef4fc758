"""Epsilon sampling: tokens less likely than epsilon go (Hewitt et al. 2022). The best stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import keep
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class EpsilonCutoff:
    order: ClassVar[int] = 70
    shapes: ClassVar[bool] = True
    epsilon: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> EpsilonCutoff | None:
        return cls(options.epsilon_cutoff) if options.epsilon_cutoff else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        softmax = rows.softmax(logits)
        return keep(logits, logits >= np.minimum(softmax.log_sums + np.float32(math.log(self.epsilon)), softmax.highest))


PROCESSOR = EpsilonCutoff
