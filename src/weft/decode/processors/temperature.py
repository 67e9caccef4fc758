"""Temperature: logits / t. Below 1 sharpens the distribution, above 1 flattens it (Ackley et al. 1985)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions

LEAST = 1e-8
"""Below it, as at it, the best token alone is drawn, and no quotient is beyond float32."""


@dataclass(frozen=True)
class Temperature:
    order: ClassVar[int] = 20
    shapes: ClassVar[bool] = True
    value: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Temperature | None:
        if options.temperature in (0.0, 1.0):
            return None
        return cls(max(options.temperature, LEAST))

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return logits / np.float32(self.value)


PROCESSOR = Temperature
