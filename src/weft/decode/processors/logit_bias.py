"""Logit bias: a number added to the logits of some ids, -inf to forbid one; those of one id add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class LogitBias:
    order: ClassVar[int] = 1
    shapes: ClassVar[bool] = False
    pairs: tuple[tuple[int, float], ...]

    @classmethod
    def from_options(cls, options: GenerationOptions) -> LogitBias | None:
        return cls(options.logit_bias) if options.logit_bias else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        ids, values = zip(*self.pairs, strict=True)
        bias = np.zeros(logits.shape[1], np.float32)
        np.add.at(bias, list(ids), np.array(values, np.float32))
        return logits + bias


PROCESSOR = LogitBias
