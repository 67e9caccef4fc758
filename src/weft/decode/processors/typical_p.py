"""Typical sampling: the tokens whose surprise is nearest the distribution's entropy, up to mass p (Meister et al. 2022).

As in Hugging Face's TypicalLogitsWarper, the token that crosses p stays, with all that are as near as it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.decode.softmax import log_softmax
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
        log_probs = log_softmax(logits)
        probabilities = np.exp(log_probs)
        entropy = -(probabilities * np.where(probabilities > 0, log_probs, 0.0)).sum(axis=1, keepdims=True)
        distance = np.abs(-log_probs - entropy)
        farthest = np.array([[self._farthest(*row)] for row in zip(distance, probabilities, strict=True)])
        return np.where(distance > farthest, np.float32(-np.inf), logits)

    def _farthest(self, distance: np.ndarray, probabilities: np.ndarray) -> float:
        """The distance [V] within which mass p is reached. Likely tokens reach it alone, so only those as near are sorted."""
        likely = probabilities > (1.0 - self.p) / len(probabilities)
        near = distance <= self._reached(distance[likely], probabilities[likely])
        return self._reached(distance[near], probabilities[near])

    def _reached(self, distance: np.ndarray, probabilities: np.ndarray) -> float:
        order = np.argsort(distance)
        nearer = int((probabilities[order].cumsum() < self.p).sum())
        return float(distance[order[min(nearer, len(order) - 1)]])


PROCESSOR = TypicalP
