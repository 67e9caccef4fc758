"""Logit bias: a number added to the logits of some ids, -inf to forbid one; those of one id add up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids, each once, and what is added to them, float32."""
        ids, place = np.unique([token for token, _ in self.pairs], return_inverse=True)
        sums = np.zeros(len(ids), np.float32)
        np.add.at(sums, place, np.array([value for _, value in self.pairs], np.float32))
        return ids, sums

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        ids, sums = self._sums
        logits[:, ids] += sums
        return logits


PROCESSOR = LogitBias
