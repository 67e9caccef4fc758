"""Suffix: what an output ends with. Its end is forbidden elsewhere, and it is forced where only it and the end still fit.

How much of the suffix an output ends with is followed token by token (Knuth, Morris and Pratt 1977), so that a
suffix that has begun by itself is made use of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class Suffix:
    order: ClassVar[int] = 9
    shapes: ClassVar[bool] = False
    tokens: tuple[int, ...]

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Suffix | None:
        return cls(options.suffix) if options.suffix else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        ends = sorted(rows.ends)
        every = [self.matched(tokens) for tokens in rows.tokens[:, -len(self.tokens) :].tolist()]
        logits[np.flatnonzero(np.array(every) < len(self.tokens))[:, None], ends] = -np.inf
        for row, matched in enumerate(every):
            missing = self._least_match(rows.remaining(row))
            if missing > 0:
                going_on = [token for token in set(self.tokens) if self.matched([*self.tokens[:matched], token]) >= missing]
                kept = going_on + (ends if matched == len(self.tokens) else [])
                values = logits[row, kept]
                logits[row] = -np.inf
                logits[row, kept] = values
        return logits

    def _least_match(self, remaining: int) -> int:
        """How many tokens of the suffix must stand at the end after the next token, for the rest and the end to fit."""
        return len(self.tokens) + 2 - remaining

    def matched(self, tokens: Sequence[int]) -> int:
        """How many of the suffix's tokens, from its first on, these end with."""
        lengths = range(min(len(tokens), len(self.tokens)), 0, -1)
        return next((n for n in lengths if tuple(tokens[-n:]) == self.tokens[:n]), 0)


PROCESSOR = Suffix
