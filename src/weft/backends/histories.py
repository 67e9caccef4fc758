"""LongRoPE on the native engine: a text that outgrows the original window, or is cut back to it, is read again.

Both sets of angles differ at every position, so what a cache holds of a text is of no use with the other set (weft.nn.reread).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.spec import config as c


class Histories:
    """The ids that each row of a session has read, and whether by the angles of long texts."""

    def __init__(self, original: int) -> None:
        self.original = original
        self.ids: list[list[int]] = []
        self.long: list[bool] = []

    def start(self, prompts: Sequence[Sequence[int]], copies: int) -> None:
        self.ids = [list(prompt) for prompt in prompts for _ in range(copies)]
        self.long = [len(row) > self.original for row in self.ids]

    def feed(self, session: Any, tokens: Sequence[int], wanted: Sequence[str]) -> np.ndarray:
        """The next token of each row, behind all of its text where that must be read again.

        Returns where these tokens stand among all that were read; hidden states are kept of them only.
        """
        self.ids = [[*row, int(token)] for row, token in zip(self.ids, tokens, strict=True)]
        long = [len(row) > self.original for row in self.ids]
        again = [row for row, (now, before) in enumerate(zip(long, self.long, strict=True)) if now != before]
        order = np.arange(len(self.ids), dtype=np.int32)
        order[again] = len(order) + np.arange(len(again))
        session.join(len(again), None)
        session.gather(order)
        given = [row if index in again else row[-1:] for index, row in enumerate(self.ids)]
        counts = np.array([len(row) for row in given], np.int32)
        session.feed(np.concatenate([np.array(row, np.int32) for row in given]), counts, True, wanted)
        places = np.cumsum(counts, dtype=np.int32) - 1
        session.choose(places)
        self.long = long
        return places

    def gather(self, rows: np.ndarray) -> None:
        self.ids, self.long = [self.ids[row] for row in rows], [self.long[row] for row in rows]

    def drop(self, count: int) -> None:
        self.ids = [row[: len(row) - count] for row in self.ids]


def histories(stack: c.Stack | None) -> Histories | None:
    """Of a decoder that needs them."""
    scaling = stack.position.scaling if isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary) else None
    return Histories(scaling.original) if isinstance(scaling, c.LongRopeScaling) else None


def depends_on_length(stack: c.Stack | None) -> bool:
    """Whether a token's angles hang on how long its text is."""
    found = (stack.position, stack.local_position) if isinstance(stack, c.TransformerStack) else ()
    return any(isinstance(one, c.Rotary) and isinstance(one.scaling, c.DynamicScaling | c.LongRopeScaling) for one in found)
