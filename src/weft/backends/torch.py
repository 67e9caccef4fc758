"""The PyTorch Runner: four verbs over weft.nn, cached, for Transformers and recurrent models alike.

Rows of one source share its cross-attention keys and values: they are queries of one product, and reordering
beams never touches them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from weft.nn.cache import KeyValueCache, padded
from weft.nn.model import Memory, Model
from weft.nn.recurrent import RecurrentMemory, State
from weft.spec.decoding import Best
from weft.spec.trace import Trace


class TorchRunner:
    """Runs `model` (already in the dtype to compute in) for weft.decode. One batch at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model.eval()
        special = model.config.special
        self.eos, self.start_token = special.eos, special.start
        self.vocabulary_size = model.config.vocabulary
        self.max_target = model.config.window.target
        self._memory: Memory = None
        self._sources = self._copies = self._position = 0
        self._offsets: Tensor | None = None
        self._state: State | None = None
        self._caches: list[KeyValueCache] = []

    @torch.inference_mode()
    def encode(self, source: Sequence[Sequence[int]]) -> Memory:
        ids, lengths = padded(source, self.model.config.special.pad)
        return self.model.encode(ids, lengths)

    @torch.inference_mode()
    def start(self, memory: Memory, copies: int, prefix: Sequence[Sequence[int]] | None = None) -> None:
        self._memory, self._copies, self._position, self._offsets = memory, copies, 0, None
        if isinstance(memory, RecurrentMemory):
            self._sources = len(memory.outputs)
            self._memory = memory.rows(torch.arange(self._sources).repeat_interleave(copies))
            self._state = self.model.decoder.first_state(self._memory)
            return
        self._caches = [KeyValueCache() for _ in self.model.decoder.blocks]
        self._sources = memory.keys_values[0][0].shape[0] if memory and memory.keys_values else 0
        if prefix is not None:
            self._read(prefix, copies)

    def _read(self, prefix: Sequence[Sequence[int]], copies: int) -> None:
        """Fill the caches with ragged prompts, padded on the left so that all rows step together."""
        self._sources, longest = len(prefix), max(map(len, prefix))
        pad = self.model.config.special.pad
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prefix], dtype=torch.int64)
        self._offsets = torch.tensor([longest - len(row) for row in prefix])
        if longest:
            self._advance(ids)
        self.gather(np.repeat(np.arange(self._sources), copies))

    @torch.inference_mode()
    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        hidden = self._advance(torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))[:, None])[:, 0]
        logits = self.model.head(hidden)
        if best is None:
            return logits.float().numpy()
        if len(banned):
            logits[:, torch.as_tensor(list(banned))] = -torch.inf
        return _best(logits, best)

    def _advance(self, ids: Tensor) -> Tensor:
        """Feed ids [R, T]; returns hidden [R, T, D]."""
        x = self.model.embed(self.model.target_embedding, ids)
        if isinstance(self._memory, RecurrentMemory):
            hidden, self._state = self.model.decoder(x, self._memory, self._state)
            return hidden
        cross = (self._memory.keys_values, self._memory.mask) if self._memory else (None, None)
        hidden = self.model.decoder(x, None, *cross, caches=self._caches, start=self._position, offsets=self._offsets)
        self._position += ids.shape[1]
        return hidden

    @torch.inference_mode()
    def gather(self, rows: np.ndarray) -> None:
        index = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        if self._offsets is not None:
            self._offsets = self._offsets.index_select(0, index)
        if isinstance(self._memory, RecurrentMemory) and self._state is not None:
            self._state = tuple(part.index_select(0, index) for part in self._state)
            self._memory = self._memory.rows(index)
            return
        for cache in self._caches:
            cache.gather(index)
        sources = index[:: self._copies] // self._copies
        if self._memory is not None and not torch.equal(sources, torch.arange(self._sources)):
            self._memory = self._memory.rows(sources)
        self._sources = len(sources)

    @torch.inference_mode()
    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]],
               trace: Trace | None = None) -> np.ndarray:
        """Teacher-forced logits, float32 [B, T, V]; target rows start with the start token, padded on the right."""
        pad = self.model.config.special.pad
        encoder_input = (None, None) if source is None else padded(source, pad)
        return self.model.head(self.model(*encoder_input, *padded(target, pad), trace=trace)).float().numpy()


def _best(logits: Tensor, k: int) -> Best:
    """The k largest of each row of logits [R, V], ties to the lowest id, and their log-probabilities.

    Found among the blocks of the vocabulary with the largest maxima, so that only those are sorted.
    """
    logits = logits.float()
    k = min(k, logits.shape[1])
    top, where = _top_of_blocks(logits, k)
    # as torch.log_softmax rounds: shifted by the maximum before the logarithm is taken away
    maximum = top[:, :1]
    total = torch.exp(logits - maximum).sum(1, keepdim=True)
    return Best(where.numpy(), ((top - maximum) - total.log()).numpy())


def _top_of_blocks(logits: Tensor, k: int, size: int = 128) -> tuple[Tensor, Tensor]:
    """values and ids [R, k] of the k largest; equal values by rising id."""
    rows, vocabulary = logits.shape
    blocks = vocabulary // size
    if blocks <= 2 * k:
        values, ids = torch.sort(logits, descending=True, stable=True) if vocabulary <= 4096 else \
            torch.topk(logits, k)
        return values[:, :k], ids[:, :k]
    body = logits[:, : blocks * size].view(rows, blocks, size)
    chosen = body.amax(2).topk(k, sorted=False).indices.sort().values  # [R, k] blocks, rising
    candidates = body.gather(1, chosen[:, :, None].expand(-1, -1, size)).flatten(1)
    ids = (chosen[:, :, None] * size + torch.arange(size)).flatten(1)
    if blocks * size < vocabulary:
        tail = torch.arange(blocks * size, vocabulary).expand(rows, -1)
        candidates, ids = torch.cat((candidates, logits[:, blocks * size :]), 1), torch.cat((ids, tail), 1)
    values, order = torch.sort(candidates, descending=True, stable=True)
    return values[:, :k], ids.gather(1, order[:, :k])
