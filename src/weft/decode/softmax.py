"""Log-probabilities of logits. In float32, as in the references: NumPy's float64 exponential takes ten times as long."""

from __future__ import annotations

import numpy as np


def log_normaliser(logits: np.ndarray) -> np.ndarray:
    """float32 [rows, 1]: the log of the sum of exp(logits [rows, vocabulary]); 0 for a row of nothing but -inf."""
    highest = logits.max(axis=1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, np.float32(0.0))
    total = np.exp(logits - highest).sum(axis=1, keepdims=True)
    return np.where(total > 0, np.log(np.where(total > 0, total, 1.0)) + highest, 0.0).astype(np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """[rows, vocabulary], in the dtype of the logits; a row of nothing but -inf stays as it is."""
    return logits - log_normaliser(logits)
