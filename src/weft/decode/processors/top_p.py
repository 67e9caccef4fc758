"""Top-p, the nucleus: the smallest set of likeliest tokens whose probabilities reach p (Holtzman et al. 2019).

The token that crosses p stays, and so does always one, as in Hugging Face's TopPLogitsWarper. All that tie with it stay
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import best_of
from weft.decode.rows import Rows
from weft.decode.softmax import log_normaliser
from weft.spec.decoding import GenerationOptions

FEW = 64
"""Tokens that hold the nucleus of most distributions: only where they do not, more are sorted."""


@dataclass(frozen=True)
class TopP:
    order: ClassVar[int] = 40
    shapes: ClassVar[bool] = True
    p: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> TopP | None:
        return cls(options.top_p) if options.top_p < 1.0 else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        total, best = log_normaliser(logits), best_of(logits, FEW)
        reached = np.exp(best.log_probs - total).cumsum(axis=1, dtype=np.float64) >= self.p
        smallest = np.take_along_axis(best.log_probs, reached.argmax(axis=1)[:, None], 1)
        for row in np.flatnonzero(~reached.any(axis=1)):
            highest = best.log_probs[row, 0]
            smallest[row] = self._smallest(logits[row], np.exp(logits[row] - highest), highest)
        return np.where(logits < smallest, np.float32(-np.inf), logits)

    def _smallest(self, logits: np.ndarray, weights: np.ndarray, highest: np.float32) -> np.float32:
        """The smallest logit [V] that stays. weights: float32 [V], exp(logits - highest)."""
        total = weights.sum(dtype=np.float64)
        spared = (1.0 - self.p) * total
        likely = np.sort(logits[weights > spared / len(weights)])  # all others together weigh less than what goes
        rising = np.exp((likely - highest).astype(np.float64))
        removed = int((total - rising.sum() + rising.cumsum() <= spared).sum())
        return likely[min(removed, len(likely) - 1)]


PROCESSOR = TopP
