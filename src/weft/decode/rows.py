"""What a processor may know besides logits: where each row of a step stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Ids = Sequence[int]


@dataclass(frozen=True)
class Request:
    """One input of a batch. limit: most new tokens (1 or more). Its random stream is (seed, stream).

    source: what the encoder read, or nothing. prompt: what the decoder begins with, its start token or a prompt.
    """

    index: int
    limit: int
    seed: int = 0
    stream: int = 0
    source: Ids = ()
    prompt: Ids = ()


@dataclass(frozen=True)
class Rows:
    """The R rows whose logits a processor gets. requests: of each row; tokens: int64 [R, N], what was generated so far."""

    requests: Sequence[Request]
    tokens: np.ndarray
    ends: frozenset[int] = field(default_factory=frozenset)
    """Ids that end a text."""

    @property
    def step(self) -> int:
        """0 for the first token."""
        return self.tokens.shape[1]

    def history(self, row: int) -> np.ndarray:
        """int64: the prompt of a row and what was generated."""
        return np.concatenate((np.asarray(self.requests[row].prompt, np.int64), self.tokens[row]))

    def remaining(self, row: int) -> int:
        """Tokens that may still come, this one included."""
        return self.requests[row].limit - self.step
