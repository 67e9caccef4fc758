"""What a processor may know besides logits: where each row of a step stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from weft.decode.softmax import Softmax

Ids = Sequence[int]


@dataclass(frozen=True)
class Request:
    """One input of a batch, or one of several draws of it. limit: most new tokens (1 or more). Its random stream is (seed,
    stream, draw), and `index` is its own.

    source: what the encoder read, or nothing. prompt: what the decoder begins with, its start token or a prompt.
    """

    index: int
    limit: int
    seed: int = 0
    stream: int = 0
    source: Ids = ()
    prompt: Ids = ()
    draw: int = 0

    @cached_property
    def prompt_ids(self) -> np.ndarray:
        """int64 [P]."""
        return np.asarray(self.prompt, np.int64)

    @cached_property
    def input_ids(self) -> np.ndarray:
        """int64: what the caller gave, a source or a prompt."""
        return np.asarray(self.source if len(self.source) else self.prompt, np.int64)


@dataclass(frozen=True)
class Rows:
    """The R rows whose logits a processor gets: `copies` of each request, next to each other. tokens: int64 [R, N], what was
    generated so far."""

    requests: Sequence[Request]
    tokens: np.ndarray
    ends: frozenset[int] = field(default_factory=frozenset)
    """Ids that end a text."""
    copies: int = 1
    known: tuple[np.ndarray, Softmax] | None = None
    """Logits, and their softmax, where somebody has made it already."""

    @property
    def step(self) -> int:
        """0 for the first token."""
        return self.tokens.shape[1]

    def request(self, row: int) -> Request:
        return self.requests[row // self.copies]

    def history(self, row: int) -> np.ndarray:
        """int64: the prompt of a row and what was generated."""
        return np.concatenate((self.request(row).prompt_ids, self.tokens[row]))

    @cached_property
    def histories(self) -> np.ndarray:
        """int64 [R, P + N]: `history` of every row; short prompts stand on the right, after -1s."""
        prompts = _aligned([request.prompt_ids for request in self.requests])
        return np.concatenate((prompts.repeat(self.copies, 0), self.tokens), 1)

    @cached_property
    def inputs(self) -> np.ndarray:
        """int64 [R, S]: `input_ids` of every row's request; short ones stand on the right, after -1s."""
        return _aligned([request.input_ids for request in self.requests]).repeat(self.copies, 0)

    def softmax(self, logits: np.ndarray) -> Softmax:
        """Of all rows."""
        return self.known[1] if self.known is not None and self.known[0] is logits else Softmax.of(logits)

    def remaining(self, row: int) -> int:
        """Tokens that may still come, this one included."""
        return self.request(row).limit - self.step


def _aligned(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Ragged ids -> int64 [rows, longest], short rows after -1s, so that the ends of all stand in the last column."""
    longest = max(map(len, rows), default=0)
    out = np.full((len(rows), longest), -1, np.int64)
    for row, ids in enumerate(rows):
        out[row, longest - len(ids):] = ids
    return out
