"""Forced first token, such as a target language; Hugging Face's forced_bos_token_id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weft.decode.rows import Rows
from weft.spec.decoding import GenerationOptions


@dataclass(frozen=True)
class ForcedFirst:
    order: ClassVar[int] = 11
    shapes: ClassVar[bool] = False
    token: int

    @classmethod
    def from_options(cls, options: GenerationOptions) -> ForcedFirst | None:
        return None if options.forced_first is None else cls(options.forced_first)

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        return only(logits, self.token) if rows.step == 0 else logits


def only(logits: np.ndarray, token: int) -> np.ndarray:
    """New logits [R, V] in which `token` is certain, at 0 as in Hugging Face; where a rule forbids it, nothing is left."""
    out = np.full_like(logits, -np.inf)
    out[:, token] = np.where(logits[:, token] > -np.inf, np.float32(0.0), np.float32(-np.inf))
    return out


PROCESSOR = ForcedFirst
