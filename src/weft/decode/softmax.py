"""Softmax of logits. In float32, as in the references: NumPy's float64 exponential takes ten times as long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEAST = np.float32(-104.0)
"""What is this far below the highest logit has a weight of 0 in float32."""
ONE = 1 << 44
"""A weight of 1 in sums; of half a million tokens they stay within 64 bits."""


@dataclass(frozen=True)
class Softmax:
    """highest: float32 [R, 1], 0 for a row of nothing but -inf. weights: exp(logits [R, V] - highest). sums: of the weights,
    [R, 1]."""

    highest: np.ndarray
    weights: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray) -> Softmax:
        highest = logits.max(axis=1, keepdims=True)
        highest = np.where(np.isfinite(highest), highest, np.float32(0.0))
        weights = logits - highest
        np.exp(weights, out=weights)
        return cls(highest, weights, weights.sum(axis=1, keepdims=True))

    @cached_property
    def log_sums(self) -> np.ndarray:
        """float32 [R, 1]: the log of the sum of exp(logits); 0 for a row of nothing but -inf."""
        some = self.sums > 0
        return np.where(some, np.log(np.where(some, self.sums, 1.0)) + self.highest, 0.0).astype(np.float32)

    def mean(self, logits: np.ndarray) -> np.ndarray:
        """float32 [R, 1]: the mean of the logits that these are the weights of. `log_sums` less it is the entropy."""
        least = np.full(logits.shape[1], LEAST)  # a row of them, with which NumPy is three times as fast as with one number
        shifted = logits - self.highest
        np.maximum(shifted, least, out=shifted)  # 0 times -inf is no number
        return self.highest + np.einsum("rv,rv->r", self.weights, shifted)[:, None] / self.sums


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """[rows, vocabulary], in the dtype of the logits; a row of nothing but -inf stays as it is."""
    return logits - Softmax.of(logits).log_sums


def cumulative(weights: np.ndarray) -> np.ndarray:
    """int64 [..., C]: sums from the left of weights [..., C] between 0 and 1, in units of 2^-44.

    Integers add up exactly, whatever their order, and ten times as fast: a sum of floats waits for the one before.
    """
    return (weights * np.float32(ONE)).astype(np.int64).cumsum(axis=-1)
