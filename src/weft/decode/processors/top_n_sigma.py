"""Top-n-sigma: tokens whose logit is more than n standard deviations below the best go (Tang et al. 2024).

The deviation is the population's, over what is not forbidden, as in llama.cpp. It runs before the other shapes, which
would change the deviation; temperature would not change what stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import keep
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class TopNSigma:
    order: ClassVar[int] = 15
    shapes: ClassVar[bool] = True
    n: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> TopNSigma | None:
        return cls(options.top_n_sigma) if options.top_n_sigma else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        highest = logits.max(axis=1, keepdims=True)
        allowed = logits > -np.inf
        farthest = np.full(logits.shape[1], np.finfo(np.float32).max)  # infinity times 0 is no number
        below = np.minimum(highest - logits, farthest) * allowed
        count = allowed.view(np.int8).sum(axis=1, keepdims=True, dtype=np.int32)  # as numbers in half the time
        mean = below.sum(axis=1, keepdims=True) / count
        sigma = np.sqrt(np.maximum((below * below).sum(axis=1, keepdims=True) / count - mean * mean, 0.0))
        lowest = (highest - self.n * sigma).astype(np.float32)
        return keep(logits, logits >= lowest)


PROCESSOR = TopNSigma
