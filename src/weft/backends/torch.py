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
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Memory, Model
from weft.nn.recurrent import RecurrentMemory, State
from weft.spec.decoding import Best
from weft.spec.trace import Trace


class TorchRunner:
    """Runs `model` (already in the dtype to compute in) for weft.decode. One batch at a time."""

    def __init__(self, model: Model) -> None:
        keep_large_blocks()
        self.model = model.eval().pack()
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
        if best is None:
            return self.model.head(hidden).float().numpy()
        logits = self.model.head(hidden)
        if len(banned):
            logits.index_fill_(1, torch.as_tensor(list(banned)), -torch.inf)
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
    """The k largest of each row of logits [R, V], ties to the lowest id, and their log-probabilities."""
    top, where = _top_of_blocks(logits, min(k, logits.shape[1]))
    if logits.dtype == torch.float32:
        return Best(where.numpy(), _log_probs(logits, where).numpy())
    # In bfloat16 the first one's is exact enough to give the normaliser, the others are not.
    normaliser = top[:, :1].float() - _log_probs(logits, where[:, :1]).float()
    return Best(where.numpy(), (top.float() - normaliser).numpy())


def _log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-softmax of logits [R, V] at ids [R, k], some rows at a time so that they stay in cache."""
    rows = max(1, (1 << 19) // logits.shape[1])
    return torch.cat([torch.log_softmax(part, 1).gather(1, columns)
                      for part, columns in zip(logits.split(rows), ids.split(rows), strict=True)])


def _top_of_blocks(logits: Tensor, k: int, size: int = 128) -> tuple[Tensor, Tensor]:
    """values and ids [R, k] of the k largest; equal values by rising id.

    Only the k blocks of the vocabulary with the largest maxima can hold them, so only those are looked through.
    """
    blocks = logits.shape[1] // size
    if blocks <= 2 * k:
        return _top(logits, torch.arange(logits.shape[1]).expand_as(logits), k)
    body = logits[:, : blocks * size].view(-1, blocks, size)
    _, chosen = _top(body.amax(2), torch.arange(blocks).expand(len(logits), -1), k)
    candidates = body.gather(1, chosen[:, :, None].expand(-1, -1, size)).flatten(1)
    ids = (chosen[:, :, None] * size + torch.arange(size)).flatten(1)
    rest = torch.arange(blocks * size, logits.shape[1]).expand(len(logits), -1)
    return _top(torch.cat((candidates, logits[:, blocks * size :]), 1), torch.cat((ids, rest), 1), k)


def _top(values: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of values [R, C] with their ids; equal values by rising id.

    torch.topk breaks ties as it likes, so it gets integers that order like (value, -id).
    """
    bits = values.float().view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    place = torch.topk((ordered << 32) | (0x7FFFFFFF - ids), k).indices
    return values.gather(1, place), ids.gather(1, place)
