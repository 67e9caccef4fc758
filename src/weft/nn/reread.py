"""LongRoPE while decoding: a text that outgrows the original window is read again.

Both sets of angles differ at every position, so what a cache holds of a text is of no use with the other set. Hugging Face's
Phi-3 does likewise (its `prepare_inputs_for_generation`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weft.nn.cache import Past
from weft.spec import config as c

Read = Callable[[Tensor, Tensor, Tensor, Tensor], Past]


class Rereading:
    """The ids that N sources of W rows each have read, and by which set of angles."""

    def __init__(self, original: int, sources: int, rows: int) -> None:
        self.original = original
        self.ids = torch.empty(sources, rows, 0, dtype=torch.int64)
        self.long = torch.zeros(sources, dtype=torch.bool)

    def begin(self, ids: Tensor, past: Past) -> None:
        """Prompts [N, T] are about to be read, padded on the left as `past` says."""
        self.ids = ids[:, None].expand(-1, self.ids.shape[1], -1)
        self.long = self._lengths(past) > self.original

    def before(self, ids: Tensor, past: Past, read: Read) -> None:
        """A token of each row, [N, W], is about to be fed: read again what it makes long, or dropped tokens made short.

        read: (sources [R], ids [R, T], offsets [R], lengths [R]) -> their caches.
        """
        lengths = self._lengths(past) + 1
        wanted = lengths > self.original
        moved = (wanted != self.long).nonzero()[:, 0]
        if len(moved) and self.ids.shape[2]:
            rows = moved.repeat_interleave(self.ids.shape[1])
            offsets = torch.zeros_like(lengths) if past.offsets is None else past.offsets
            again = read(rows, self.ids[moved].flatten(0, 1), offsets[rows], lengths[rows])
            for cache, new in zip(past.caches, again.caches, strict=True):
                cache.replace(moved, past.own_columns()[moved], new)
        self.long, self.ids = wanted, torch.cat((self.ids, ids[:, :, None]), 2)

    def gather(self, sources: Tensor, parents: Tensor) -> None:
        """As of `Past`."""
        self.ids, self.long = self.ids[sources[:, None], parents], self.long[sources]

    def drop(self, count: int) -> None:
        self.ids = self.ids[:, :, : self.ids.shape[2] - count]

    def _lengths(self, past: Past) -> Tensor:
        """int64 [N], without padding."""
        read = torch.full((len(self.ids),), self.ids.shape[2])
        return read if past.offsets is None else read - past.offsets


def rereading(stack: c.Stack | None, sources: int, rows: int) -> Rereading | None:
    """For a stack whose positions need it."""
    scaling = stack.position.scaling if isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary) else None
    return Rereading(scaling.original, sources, rows) if isinstance(scaling, c.LongRopeScaling) else None
