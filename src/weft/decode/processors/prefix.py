"""Prefix: what an output begins with. The first tokens are forced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.processors.forced_first import only
from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class Prefix:
    order: ClassVar[int] = 10
    shapes: ClassVar[bool] = False
    tokens: tuple[int, ...]

    @classmethod
    def from_options(cls, options: GenerationOptions) -> Prefix | None:
        return cls(options.prefix) if options.prefix else None

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return only(logits, self.tokens[rows.step]) if rows.step < len(self.tokens) else logits


PROCESSOR = Prefix
