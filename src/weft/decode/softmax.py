"""Log-probabilities of logits."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 [rows, vocabulary]; a row of nothing but -inf stays as it is."""
    highest = logits.max(axis=1, keepdims=True)
    shifted = logits.astype(np.float64) - np.where(np.isfinite(highest), highest, 0.0)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    return shifted - np.log(np.where(total > 0, total, 1.0))
