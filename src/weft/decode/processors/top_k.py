"""Top-k: only the k largest logits stay (Fan et al. 2018, section 5.1). Logits equal to the k-th stay too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import keep
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class TopK:
    order: ClassVar[int] = 30
    shapes: ClassVar[bool] = True
    k: int

    @classmethod
    def from_options(cls, options: GenerationOptions) -> TopK | None:
        return cls(options.top_k) if options.top_k else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        k = min(self.k, logits.shape[1])
        smallest = np.partition(logits, -k, axis=1)[:, -k, None]
        return keep(logits, logits >= smallest)


PROCESSOR = TopK
