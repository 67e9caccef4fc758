"""A ragged batch without its padding.

Padded, a batch is [B, T, ...] with `lengths` valid positions on the left of each row. Packed, it is [N, ...]: the
valid positions only, row after row. Every part of a Transformer but attention works position by position and is
spared the padding, some 15% of a batch of sentences; attention's heads are laid out padded, at the place where
they would be copied anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Move(torch.autograd.Function):
    """x[there]; its gradient is moved back likewise, not added up, and is 0 at `blank`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, blank: Tensor | None) -> Tensor:
        ctx.back, ctx.blank = back, blank
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        moved = gradients[0].index_select(0, ctx.back)
        return moved if ctx.blank is None else moved.index_fill_(0, ctx.blank, 0), None, None, None


class Packing:
    """Where the valid positions of a padded batch are. lengths int64 [B]; size T."""

    def __init__(self, lengths: Tensor, size: int) -> None:
        valid = torch.arange(size) < lengths[:, None]
        self.lengths, self.size = lengths, size
        self.slots = valid.flatten().nonzero()[:, 0]
        """[N]: the place of each valid position in [B * T]."""
        self.rows = (valid.flatten().cumsum(0) - 1).clamp_(min=0).view_as(valid)
        """[B, T]: the place of each position in [N]; of padding, that of some other position."""
        self.padding = ~valid
        self._heads: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def positions(self) -> Tensor:
        """[N]: the position of each valid one in its row."""
        return self.slots % self.size

    def pack(self, x: Tensor) -> Tensor:
        """[B, T, ...] -> [N, ...]; where no gradient is needed, or where it may cost a sum."""
        return x.flatten(0, 1).index_select(0, self.slots)

    def _places(self, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Between [N, H] and [B, H, T]: the place in the first of each in the second, the reverse, the padding."""
        if heads not in self._heads:
            head = torch.arange(heads)
            there = self.rows[:, None] * heads + head[:, None]
            row, position = self.slots // self.size, self.slots % self.size
            back = (row[:, None] * heads + head) * self.size + position[:, None]
            blank = self.padding[:, None].expand(-1, heads, -1).flatten().nonzero()[:, 0]
            self._heads[heads] = there.flatten(), back.flatten(), blank
        return self._heads[heads]

    def split(self, x: Tensor, heads: int) -> Tensor:
        """[N, H * E] -> [B, H, T, E]; padding holds some other position's numbers and takes no gradient."""
        there, back, _ = self._places(heads)
        return _Move.apply(x.reshape(-1, x.shape[-1] // heads), there, back, None).view(
            len(self.lengths), heads, self.size, -1)

    def merge(self, x: Tensor) -> Tensor:
        """[B, H, T, E] -> [N, H * E]."""
        there, back, blank = self._places(x.shape[1])
        return _Move.apply(x.reshape(-1, x.shape[-1]), back, there, blank).view(len(self.slots), -1)
