"""What a Transformer decoder remembers between steps.

All rows of a source (its beams) share one list of columns: first those of its prompt, then one written by each row
at every step. A row sees its own history among them, by a mask. So reordering beams moves no keys and values, and
the rows of a source are queries of one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STEPS = 16
"""Steps that buffers grow by, in whole vectors of 32 columns, over which softmax is several times as fast on a CPU."""


class KeyValueCache:
    """Keys and values of one self-attention in buffers [N, K, capacity, E] that grow in strides.

    Attention runs over the whole buffer, its unused end masked and zero: a product over a slice of it would be copied
    at every step, which costs several times as much as the multiplications saved.
    """

    def __init__(self, stride: int = 32, dtype: torch.dtype | None = None) -> None:
        """dtype: of the buffers, by default that of what is added."""
        self.stride, self.dtype = stride, dtype
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self.length = 0

    def capacity(self, length: int) -> int:
        """Columns of the buffer once it holds `length`."""
        now = 0 if self._keys is None else self._keys.shape[2]
        if length <= now:
            return now
        wanted = max(length, now + now // 4)
        return -(-wanted // self.stride) * self.stride

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add [N, K, new, E]; returns the buffers, [N, K, capacity, E], valid up to `length`."""
        end = self.length + keys.shape[2]
        if self._keys is None or self._values is None or end > self._keys.shape[2]:
            capacity = self.capacity(end)
            self._keys, self._values = self._grown(self._keys, keys, capacity), self._grown(self._values, values, capacity)
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys, self._values

    def _grown(self, old: Tensor | None, like: Tensor, capacity: int) -> Tensor:
        sources, heads, _, size = like.shape
        new = like.new_zeros(sources, heads, capacity, size, dtype=self.dtype)
        if old is not None:
            new[:, :, : self.length] = old[:, :, : self.length]
        return new

    def drop(self, columns: int) -> None:
        """Forget the last ones. What they held stays in the buffer, masked like its unused end."""
        self.length -= columns

    def replace(self, sources: Tensor, columns: Tensor, others: KeyValueCache) -> None:
        """Write over what columns [M, W, T] of `sources` [M] hold what the first T columns of M * W others hold."""
        size = (*columns.shape[:2], -1, columns.shape[2])
        for mine, other in ((self._keys, others._keys), (self._values, others._values)):
            if mine is not None and other is not None:
                new = other[:, :, : columns.shape[2]].view(*size, other.shape[-1]).transpose(2, 3)  # [M, W, T, K, E]
                mine[sources[:, None, None], :, columns] = new.to(mine.dtype)

    def select(self, sources: Tensor) -> None:
        """Keep these sources only, in this order."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys.index_select(0, sources), self._values.index_select(0, sources)


@dataclass(frozen=True)
class Columns:
    """Where T new columns stand and what their queries may look at.

    queries: int64 [T], their positions, padding on the left of a prompt counted. keys: int64 [S], the position of every
    column of the buffers; unused ones lie ahead. visible: bool [N, 1, T, S] or None. offsets: int64 [N] or None, the
    positions of padding on the left of each source.
    """

    queries: Tensor
    keys: Tensor
    visible: Tensor | None = None
    offsets: Tensor | None = None

    def positions(self) -> Tensor:
        """Positions of the queries without padding, [T] or [N, T]."""
        return self.queries if self.offsets is None else (self.queries - self.offsets[:, None]).clamp_(min=0)


class Past:
    """The caches of all blocks, and the history of N sources of W rows each."""

    def __init__(self, layers: int, sources: int, rows: int) -> None:
        dtype = torch.float32 if rows == 1 else None  # products of one row are faster so, and more exact (docs/LOG.md)
        self.caches = [KeyValueCache(-(-STEPS * rows // 32) * 32, dtype) for _ in range(layers)]
        self.rows = rows
        self.prompt = 0
        """Columns of the prompts, padded on the left to one length."""
        self.offsets: Tensor | None = None
        self.history = torch.empty(sources, rows, 0, dtype=torch.int64)
        """[N, W, steps]: which row wrote each step of each row's history."""

    @property
    def steps(self) -> int:
        return self.history.shape[2]

    def read(self, length: int, offsets: Tensor) -> Columns:
        """Make room for prompts of `length` columns, of which each source's first `offsets` are padding."""
        self.prompt, self.offsets = length, offsets if bool(offsets.any()) else None
        keys = self._key_positions()
        visible = None if self.offsets is None else (keys >= self.offsets[:, None])[:, None, None]
        return Columns(torch.arange(length), keys, visible, self.offsets)

    def step(self, count: int = 1) -> Columns:
        """Make room for one more column of every row, or for `count` where there is one row a source."""
        assert count == 1 or self.rows == 1
        own = torch.arange(self.rows)[:, None].expand(len(self.history), -1, count)
        self.history = torch.cat((self.history, own), 2)
        keys = self._key_positions()
        end = self.prompt + self.steps
        now = torch.arange(end - count, end) if self.rows == 1 else torch.full((self.rows,), end - 1)
        return Columns(now, keys, self._visible(keys), self.offsets)

    def own_columns(self) -> Tensor:
        """int64 [N, W, T]: which column holds each position of each row's history, prompts padded on the left."""
        sources = len(self.history)
        prompt = torch.arange(self.prompt).expand(sources, self.rows, -1)
        return torch.cat((prompt, self.prompt + torch.arange(self.steps) * self.rows + self.history), 2)

    def drop(self, count: int) -> None:
        """Forget the last `count` steps."""
        self.history = self.history[:, :, : self.steps - count]
        for cache in self.caches:
            cache.drop(count * self.rows)

    def _key_positions(self) -> Tensor:
        """[S]: the prompt's columns are a position each, later ones W to a position."""
        column = torch.arange(self.caches[0].capacity(self.prompt + self.steps * self.rows) if self.caches else 0)
        return torch.where(column < self.prompt, column, self.prompt + (column - self.prompt) // self.rows)

    def _visible(self, keys: Tensor) -> Tensor | None:
        if self.rows == 1 and self.offsets is None:
            return None
        sources = len(self.history)
        visible = torch.ones(sources, self.rows, len(keys), dtype=torch.bool)
        written = (self.history[..., None] == torch.arange(self.rows)).flatten(2)
        visible[:, :, self.prompt : self.prompt + written.shape[2]] = written
        if self.offsets is not None:
            visible &= (keys >= self.offsets[:, None])[:, None]
        return visible[:, None]

    def gather(self, sources: Tensor, parents: Tensor) -> bool:
        """Row w of source n becomes what row parents[n, w] of source sources[n] was. int64 [N'], [N', W].

        Returns whether any source is another than before."""
        moved = not torch.equal(sources, torch.arange(len(self.history)))
        if moved:
            for cache in self.caches:
                cache.select(sources)
            self.offsets = None if self.offsets is None else self.offsets.index_select(0, sources)
        self.history = self.history[sources[:, None], parents]
        return moved


def padded(rows: Sequence[Sequence[int] | np.ndarray], value: int) -> tuple[Tensor, Tensor]:
    """Ragged ids to int64 [B, longest] filled with `value` on the right, and lengths int64 [B]."""
    lengths = [len(row) for row in rows]
    ids = np.full((len(rows), max(lengths, default=0)), value, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return torch.from_numpy(ids), torch.tensor(lengths, dtype=torch.int64)
