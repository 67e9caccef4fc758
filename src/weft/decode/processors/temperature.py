"""Temperature: logits / t. Below 1 sharpens the distribution, above 1 flattens it (Ackley et al. 1985)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class Temperature:
    order: ClassVar[int] = 20
    shapes: ClassVar[bool] = True
    value: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Temperature | None:
        return cls(options.temperature) if options.temperature not in (0.0, 1.0) else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return logits / np.float32(self.value)


PROCESSOR = Temperature
