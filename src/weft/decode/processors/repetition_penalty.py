"""Repetition penalty: logits of tokens that are there are divided by it, or multiplied if below 0 (Keskar et al. 2019, 4.1).

Tokens of the prompt count, the start token too, and once however often they come, as in Hugging Face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class RepetitionPenalty:
    order: ClassVar[int] = 3
    shapes: ClassVar[bool] = False
    penalty: float

    @classmethod
    def from_options(cls, options: GenerationOptions) -> RepetitionPenalty | None:
        return cls(options.repetition_penalty) if options.repetition_penalty != 1.0 else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return penalised(logits, rows.histories, self.penalty)


def penalised(logits: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """logits [R, V], written to, with the penalty on the ids of `seen`, int64 [R, N]; -1 stands for none, and never in the last
    column."""
    ids = np.where(seen < 0, seen[:, -1:], seen)  # an id more often makes no difference
    places = np.arange(len(logits))[:, None], ids
    values = logits[places]
    logits[places] = np.where(values < 0, values * np.float32(penalty), values / np.float32(penalty))
    return logits


PROCESSOR = RepetitionPenalty
