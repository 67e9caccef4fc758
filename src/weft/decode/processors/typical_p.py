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
        surprise = -log_probs
        entropy = (probabilities * np.where(probabilities > 0, surprise, 0.0)).sum(axis=1, keepdims=True)
        distance = np.abs(surprise - entropy)
        order = np.argsort(distance, axis=1, kind="stable")
        reached = np.take_along_axis(probabilities, order, 1).cumsum(axis=1)
        last = np.minimum((reached < self.p).sum(axis=1, keepdims=True), logits.shape[1] - 1)
        farthest = np.take_along_axis(distance, np.take_along_axis(order, last, 1), 1)
        return np.where(distance > farthest, np.float32(-np.inf), logits)


PROCESSOR = TypicalP
