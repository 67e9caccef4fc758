"""Trace: an explicit argument that collects what a model computed on the way. Never a global hook.

Names of inspection points, the same in every backend (i counts layers from 0):

    encoder.embedding                              [B, S, D] after positions and embedding norm
    encoder.blocks.{i}.self_attention.weights      [B, H, S, S]
    encoder.blocks.{i}.hidden                      [B, S, D]
    encoder.hidden                                 [B, S, D] as the decoder sees it
    decoder.embedding                              [B, T, D]
    decoder.blocks.{i}.self_attention.weights      [B, H, T, T]
    decoder.blocks.{i}.cross_attention.weights     [B, H, T, S]
    decoder.blocks.{i}.hidden                      [B, T, D]
    decoder.hidden                                 [B, T, D] before the head
    decoder.attention.weights                      [B, 1, T, S] recurrent models
    logits                                         [B, 1, V] steps of decoding: before any rule

A runner's steps give the same names: B rows and T = 1, but self-attention [B, H, 1, T] over the T positions of each row's
own history, prompts padded on the left. Of several tokens a row, each is a row of the trace; T then is that of the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np


class Trace:
    """Collects arrays by name. `Trace("*.cross_attention.weights")` keeps only names that match a pattern."""

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns or ("*",)
        self.arrays: dict[str, np.ndarray] = {}

    def wants(self, name: str) -> bool:
        return bool(_matching((name,), self.patterns))

    def among(self, names: tuple[str, ...]) -> list[str]:
        """Those that it wants."""
        return _matching(names, self.patterns)

    def add(self, name: str, value: Any) -> None:
        """Keep a copy of `value` (a NumPy array or a torch tensor) as float32."""
        if self.wants(name):
            array = value.detach().float().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
            self.arrays[name] = array.astype(np.float32, copy=True)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@lru_cache(maxsize=1024)
def _matching(names: tuple[str, ...], patterns: tuple[str, ...]) -> list[str]:
    """Remembered: the same names are asked for at every step."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
