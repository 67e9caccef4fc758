"""Eta sampling: tokens less likely than min(eta, sqrt(eta) * exp(-entropy)) go (Hewitt et al. 2022).

The best stays. The paper's epsilon is the option, as in Hugging Face's EtaLogitsWarper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.best import keep
from weft.decode.rows import Rows
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
        softmax = rows.softmax(logits)
        entropy = softmax.log_sums - softmax.mean(logits)
        threshold = np.minimum(self.eta, np.sqrt(self.eta) * np.exp(-entropy))
        return keep(logits, logits >= np.minimum(softmax.log_sums + np.log(threshold), softmax.highest))


PROCESSOR = EtaCutoff
