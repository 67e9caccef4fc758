"""What a decoder remembers between steps. It knows shapes and rows, not models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of one self-attention, [R, K, length, E], in a buffer that doubles when full."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add [R, K, new, E]; returns all so far, [R, K, length, E]."""
        end = self.length + keys.shape[2]
        if self.keys is None or self.values is None or end > self.keys.shape[2]:
            self._grow(keys, end)
        assert self.keys is not None and self.values is not None
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grow(self, like: Tensor, needed: int) -> None:
        capacity = max(16, needed, 2 * self.length)
        rows, heads, _, size = like.shape
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = like.new_empty(rows, heads, capacity, size)
            if old is not None:
                new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)

    def gather(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            if old is not None:
                new = old.new_empty(len(rows), *old.shape[1:])
                new[:, :, : self.length] = old[:, :, : self.length].index_select(0, rows)
                setattr(self, name, new)


def padded(rows: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Ragged ids to int64 [B, longest] filled with `value` on the right, and lengths int64 [B]."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    ids = torch.full((len(rows), int(lengths.max()) if len(rows) else 0), value, dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
    return ids, lengths
