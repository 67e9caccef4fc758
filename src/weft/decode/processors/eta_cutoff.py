"""Eta sampling: tokens less likely than min(eta, sqrt(eta) * exp(-entropy)) go (Hewitt et al. 2022).

The best stays. The paper's epsilon is the option, as in Hugging Face's EtaLogitsWarper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.decode.softmax import log_softmax
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class EtaCutoff:
    order: ClassVar[int] = 80
    shapes: ClassVar[bool] = True
    eta: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> EtaCutoff | None:
        return cls(options.eta_cutoff) if options.eta_cutoff else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        log_probs = log_softmax(logits)
        probabilities = np.exp(log_probs)
        entropy = -(probabilities * np.where(probabilities > 0, log_probs, 0.0)).sum(axis=1, keepdims=True)
        threshold = np.minimum(self.eta, np.sqrt(self.eta) * np.exp(-entropy))
        unlikely = (probabilities < threshold) & (logits < logits.max(axis=1, keepdims=True))
        return np.where(unlikely, np.float32(-np.inf), logits)


PROCESSOR = EtaCutoff
