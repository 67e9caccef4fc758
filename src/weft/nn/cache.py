"""What a decoder remembers between steps. It knows shapes and rows, not models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of one self-attention in buffers [R, K, capacity, E] that grow in strides.

    Attention runs over the whole buffer, its unused end masked and zero: a product over a slice of it would be copied
    at every step, which costs several times as much as the multiplications saved.
    """

    stride = 16

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._spare: list[Tensor] = []
        self.length = 0

    def capacity(self, length: int) -> int:
        """Positions of the buffer once it holds `length`."""
        now = 0 if self._keys is None else self._keys.shape[2]
        if length <= now:
            return now
        wanted = max(length, now + now // 4)
        return -(-wanted // self.stride) * self.stride

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add [R, K, new, E]; returns the buffers, [R, K, capacity, E], valid up to `length`."""
        end = self.length + keys.shape[2]
        if self._keys is None or self._values is None or end > self._keys.shape[2]:
            capacity = self.capacity(end)
            self._keys, self._values = self._grown(self._keys, keys, capacity), self._grown(self._values, values, capacity)
            self._spare = []
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys, self._values

    def _grown(self, old: Tensor | None, like: Tensor, capacity: int) -> Tensor:
        rows, heads, _, size = like.shape
        new = like.new_zeros(rows, heads, capacity, size)
        if old is not None:
            new[:, :, : self.length] = old[:, :, : self.length]
        return new

    def gather(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was. Two pairs of buffers take turns, so nothing is allocated."""
        if self._keys is None or self._values is None:
            return
        spare = self._spare
        if not spare or len(spare[0]) < len(rows):
            spare = [self._keys.new_empty(len(rows), *self._keys.shape[1:]) for _ in range(2)]
        self._spare = [self._keys, self._values]
        self._keys, self._values = (torch.index_select(old, 0, rows, out=new[: len(rows)])
                                    for old, new in zip(self._spare, spare, strict=True))


def padded(rows: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Ragged ids to int64 [B, longest] filled with `value` on the right, and lengths int64 [B]."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    ids = torch.full((len(rows), int(lengths.max()) if len(rows) else 0), value, dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
    return ids, lengths
