"""Rows of ids of any lengths in one array: 4 bytes an id, where lists of Python integers take ten times that."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Ragged:
    """N rows of int32, one after another."""

    def __init__(self, rows: Iterable[Sequence[int] | np.ndarray] = ()) -> None:
        values, ends = array("i"), array("q", [0])
        for row in rows:
            values.frombytes(np.asarray(row, dtype=np.int32).tobytes())
            ends.append(len(values))
        self._values, self._ends = np.frombuffer(values, np.int32), np.frombuffer(ends, np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self._ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._values[self._ends[index] : self._ends[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: Iterable[int]) -> Ragged:
        return Ragged(self[index] for index in rows)
