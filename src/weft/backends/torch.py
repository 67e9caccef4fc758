"""The PyTorch Runner: four verbs over weft.nn, cached, for Transformers and recurrent models alike.

Rows of one source share all its keys and values: they are queries of one product, and reordering beams never
touches them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from weft.errors import UsageError
from weft.nn.cache import Columns, Past, padded
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Memory, Model
from weft.nn.recurrent import RecurrentMemory, State
from weft.spec import config as c
from weft.spec.runner import Best
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
        self._copies = 1
        self._state: State | None = None
        self._past = Past(0, 0, 1)
        self._watched: Trace | None = None

    @torch.inference_mode()
    def encode(self, source: Sequence[Sequence[int]]) -> Memory:
        ids, lengths = padded(source, self.model.config.special.pad)
        return self.model.encode(ids, lengths)

    @torch.inference_mode()
    def start(self, memory: Memory, copies: int, prefix: Sequence[Sequence[int]] | None = None, watch: bool = False) -> None:
        self._memory, self._copies = memory, copies
        self._watched = Trace(self._last_attention()) if watch else None
        if isinstance(memory, RecurrentMemory):
            self._memory = memory.rows(torch.arange(len(memory.outputs)).repeat_interleave(copies))
            self._state = self.model.decoder.first_state(self._memory)
            return
        sources = len(memory.keys_values[0][0]) if memory is not None else len(prefix or ())
        self._past = Past(self.model.config.decoder.layers, sources, copies)
        if prefix is not None and any(prefix):
            self._read(prefix)

    def _read(self, prefix: Sequence[Sequence[int]]) -> None:
        """Fill the caches with ragged prompts, padded on the left so that all rows step together."""
        longest, pad = max(map(len, prefix)), self.model.config.special.pad
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prefix], dtype=torch.int64)
        self._advance(ids, self._past.read(longest, torch.tensor([longest - len(row) for row in prefix])))

    @torch.inference_mode()
    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        ids = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))
        if isinstance(self._memory, RecurrentMemory):
            x = self.model.embed(self.model.target_embedding, ids[:, None])
            hidden, self._state = self.model.decoder(x, self._memory, self._state, self._watched)
        else:
            hidden = self._advance(ids.view(-1, self._copies), self._past.step())
        hidden = hidden.reshape(len(ids), -1)
        logits = self.model.head(hidden)
        if best is None:
            return logits.float().numpy()
        if len(banned):
            logits.index_fill_(1, torch.as_tensor(list(banned)), -torch.inf)
        return _best(logits, best)

    def _advance(self, ids: Tensor, columns: Columns) -> Tensor:
        """Feed ids [N, T] at `columns`; returns hidden [N, T, D]."""
        x = self.model.embed(self.model.target_embedding, ids)
        cross = (self._memory.keys_values, self._memory.mask) if self._memory else (None, None)
        return self.model.decoder(x, None, *cross, caches=self._past.caches, columns=columns,
                                  trace=self._watched, project=self.model.embedding_projection)

    def attention(self) -> np.ndarray:
        assert self._watched is not None, "start was not told to watch"
        weights = self._watched[self._last_attention()]  # [N, H, W, S]
        return weights.mean(1).reshape(-1, weights.shape[-1])

    def _last_attention(self) -> str:
        """Name of the cross-attention weights nearest the output (weft.spec.trace)."""
        decoder = self.model.config.decoder
        if self._memory is None or isinstance(getattr(decoder, "bridge", None), c.SingleVector):
            raise UsageError("this model's decoder has no attention to a source, which a coverage penalty goes by; leave out "
                             "coverage_penalty")
        recurrent = isinstance(decoder, c.RecurrentStack)
        return "decoder.attention.weights" if recurrent else f"decoder.blocks.{decoder.layers - 1}.cross_attention.weights"

    @torch.inference_mode()
    def gather(self, rows: np.ndarray) -> None:
        index = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        if isinstance(self._memory, RecurrentMemory) and self._state is not None:
            self._state = tuple(part.index_select(0, index) for part in self._state)
            self._memory = self._memory.rows(index)
            return
        sources = index[:: self._copies] // self._copies
        moved = self._past.gather(sources, (index % self._copies).view(-1, self._copies))
        if self._memory is not None and moved:
            self._memory = self._memory.rows(sources)

    @torch.inference_mode()
    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]],
               trace: Trace | None = None) -> np.ndarray:
        """Teacher-forced logits, float32 [B, T, V]; target rows start with the start token, padded on the right."""
        pad = self.model.config.special.pad
        encoder_input = (None, None) if source is None else padded(source, pad)
        return self.model.head(self.model(*encoder_input, *padded(target, pad), trace=trace)).float().numpy()


    @torch.inference_mode()
    def score(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None,
              trace: Trace | None = None) -> np.ndarray:
        """What the head says of whole texts, float32: [B, S, V] (language model), [B, S, labels] (tags), [B, labels]
        (classes) or [B, D] (embedding); rows are padded on the right. types: kinds of segment (encoder-only)."""
        ids, lengths = padded(rows, self.model.config.special.pad)
        if self.model.config.kind == "encoder-only":
            hidden = self.model.read(ids, lengths, trace, types=None if types is None else padded(types, 0)[0])
        else:
            hidden = self.model(None, None, ids, lengths, trace=trace)
        return self.model.head.score(hidden, lengths).float().numpy()


    @torch.inference_mode()
    def log_probs(self, rows: Sequence[Sequence[int]], most: int = 4096) -> list[np.ndarray]:
        """Decoder-only: float32 log p of every token of each row but its first, given those before it."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found: dict[int, np.ndarray] = {}
        while order:
            size = max(1, most // max(1, len(rows[order[-1]])))
            chosen, order = order[-size:], order[:-size]
            ids, lengths = padded([rows[i] for i in chosen], self.model.config.special.pad)
            hidden = self.model(None, None, ids[:, :-1], lengths - 1)
            for i, states, row, length in zip(chosen, hidden, ids, lengths.tolist(), strict=True):
                logits = self.model.head(states[: length - 1]).float()
                found[i] = (logits.gather(1, row[1:length, None])[:, 0] - logits.logsumexp(1)).numpy()
        return [found[i] for i in range(len(rows))]

    def score_all(self, rows: Sequence[Sequence[int]], most: int = 4096) -> list[np.ndarray]:
        """`score` of any number of texts, each without its padding: batches of about `most` positions, alike in length."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        per_position = isinstance(self.model.config.head, (c.LanguageModelHead, c.TagHead))
        found: dict[int, np.ndarray] = {}
        while order:
            size = max(1, most // max(1, len(rows[order[-1]])))
            chosen, order = order[-size:], order[:-size]
            scores = self.score([rows[i] for i in chosen])
            found |= {i: row[: len(rows[i])] if per_position else row for i, row in zip(chosen, scores, strict=True)}
        return [found[i] for i in range(len(rows))]


def _best(logits: Tensor, k: int) -> Best:
    """The k largest of each row of logits [R, V], ties to the lowest id, and their log-probabilities."""
    if k == 1:
        top, where = logits.max(1, keepdim=True)  # the first of equals
    else:
        top, where = _top_of_blocks(logits, min(k, logits.shape[1]))
    rows = max(1, (1 << 20) // logits.shape[1])  # so that they stay in cache
    chunks = zip(logits.split(rows), top.split(rows), where.split(rows), strict=True)
    return Best(where.numpy(), torch.cat([_log_probs(*chunk) for chunk in chunks]).numpy())


def _log_probs(logits: Tensor, top: Tensor, ids: Tensor) -> Tensor:
    """float32 [R, k]: log-softmax of logits [R, V] at ids [R, k], where they are `top`. Overwrites the logits."""
    if logits.dtype == torch.float32:
        return torch.log_softmax(logits, 1).gather(1, ids)
    # As fast as log_softmax in bfloat16, whose result would be rounded; here the largest term, 1, is exact.
    total = logits.sub_(top[:, :1]).exp_().sum(1, keepdim=True, dtype=torch.float32)
    return top.float() - top[:, :1].float() - total.log_()


def _top_of_blocks(logits: Tensor, k: int, size: int = 128) -> tuple[Tensor, Tensor]:
    """values and ids [R, k] of the k largest; equal values by rising id.

    Only the k blocks of the vocabulary with the largest maxima can hold them, so only those are looked through.
    """
    blocks = logits.shape[1] // size
    if blocks <= 2 * k:
        return _top(logits, torch.arange(logits.shape[1]).expand_as(logits), k)
    body = logits[:, : blocks * size].view(-1, blocks, size)
    _, chosen = _top(_block_maxima(body), torch.arange(blocks).expand(len(logits), -1), k)
    candidates = body.gather(1, chosen[:, :, None].expand(-1, -1, size)).flatten(1)
    ids = (chosen[:, :, None] * size + torch.arange(size)).flatten(1)
    rest = torch.arange(blocks * size, logits.shape[1]).expand(len(logits), -1)
    return _top(torch.cat((candidates, logits[:, blocks * size :]), 1), torch.cat((ids, rest), 1), k)


def _block_maxima(blocks: Tensor) -> Tensor:
    """[R, C, size] -> [R, C]. torch reduces bfloat16 number by number, but its bits as integers in whole vectors."""
    if blocks.dtype != torch.bfloat16:
        return blocks.amax(2)
    bits = blocks.view(torch.int16)  # rise with the number if it is positive, fall with it if not
    highest = bits.amax(2)
    return torch.where(highest >= 0, highest, bits.amin(2)).view(torch.bfloat16)


def _top(values: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of values [R, C] with their ids; equal values by rising id.

    torch.topk breaks ties as it likes, so it gets integers that order like (value, -id).
    """
    bits = values.float().view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    place = torch.topk((ordered << 32) | (0x7FFFFFFF - ids), k).indices
    return values.gather(1, place), ids.gather(1, place)
