"""The PyTorch Runner: its verbs over weft.nn, cached, for Transformers and recurrent models alike.

Rows of one source share all its keys and values: they are queries of one product, and reordering beams never
touches them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from weft.errors import UsageError
from weft.nn.cache import Columns, Past, padded
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Memory, Model
from weft.nn.recurrent import RecurrentMemory, State
from weft.nn.reread import Rereading, rereading
from weft.spec import config as c
from weft.spec.runner import Best
from weft.spec.trace import Trace
from weft.tensors import Stored


def build_runner(config: c.ModelConfig, tensors: Mapping[str, Stored], precision: str) -> TorchRunner:
    """A runner of every stored parameter of `config`. precision: fp32 or bf16."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return TorchRunner(Model.of(config, lambda name: torch.from_numpy(tensors[name].wide()), dtype))


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
        self._rereading: Rereading | None = None
        self._hidden = self._prompt_hidden = torch.empty(0, 0, model.config.width)
        self.traces_together = not c.turns_by_length(model.config.decoder)
        self._watched = ""
        """Name of the attention that `attention` tells of; none if nobody asks."""
        self._seen = np.empty((0, 0, 0, 0), np.float32)

    @torch.inference_mode()
    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Memory:
        ids, lengths = padded(source, self.model.config.special.pad)
        return self.model.encode(ids, lengths, trace)

    @torch.inference_mode()
    def start(self, memory: Memory, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        self._memory, self._copies = memory, copies
        self._watched = self._last_attention() if watch else ""
        if isinstance(memory, RecurrentMemory):
            self._memory = memory.rows(torch.arange(len(memory.outputs)).repeat_interleave(copies))
            self._state = self.model.decoder.first_state(self._memory)
            self._prompt_hidden = torch.empty(len(memory.outputs), 0, self.model.config.width)
            return
        sources = len(memory.keys_values[0][0]) if memory is not None else len(prefix or ())
        self._prompt_hidden = torch.empty(sources, 0, self.model.config.width)
        self._past = Past(self.model.config.decoder.layers, sources, copies)
        self._rereading = rereading(self.model.config.decoder, sources, copies)
        if prefix is not None and any(prefix):
            self._read(prefix, trace)

    def _read(self, prefix: Sequence[Sequence[int]], trace: Trace | None) -> None:
        """Fill the caches with ragged prompts, padded on the left so that all rows step together."""
        longest, pad = max(map(len, prefix)), self.model.config.special.pad
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prefix], dtype=torch.int64)
        columns = self._past.read(longest, torch.tensor([longest - len(row) for row in prefix]))
        if self._rereading is not None:
            self._rereading.begin(ids, self._past)
        self._prompt_hidden = self._advance(ids, columns, trace)
        if trace is not None:  # attention runs over whole buffers
            trace.arrays |= {name: array[..., :longest] for name, array in trace.arrays.items() if name.endswith("weights")}

    @torch.inference_mode()
    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        ids = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))
        found = self._wanted(trace)
        if isinstance(self._memory, RecurrentMemory):
            x = self.model.embed(self.model.target_embedding, ids.view(len(ids), -1))
            hidden, self._state = self.model.decoder(x, self._memory, self._state, found)
        elif ids.dim() == 2 and ids.shape[1] > 1:
            hidden = self._advance_by(ids, found)
        else:
            hidden = self._advance_one(ids.view(-1, self._copies), found)
        self._hidden = hidden = hidden.reshape(ids.numel(), -1)
        logits = self.model.head(hidden)
        if found is not None:
            self._tell(found, trace, logits)
        if best is None:
            return logits.float().numpy()
        if len(banned):
            logits.index_fill_(1, torch.as_tensor(list(banned)), -torch.inf)
        return _best(logits, best)

    def _wanted(self, trace: Trace | None) -> Trace | None:
        """What to collect of a step: for the caller's trace, and for `attention`."""
        if not self._watched:
            return trace
        return Trace(*(trace.patterns if trace is not None else ()), self._watched)

    def _tell(self, found: Trace, trace: Trace | None, logits: Tensor) -> None:
        if self._watched:
            self._seen = found[self._watched]
        if trace is not None:
            trace.arrays |= {name: array for name, array in found.arrays.items() if trace.wants(name)}
            self._split_rows(trace)
            trace.add("logits", logits[:, None])

    def _split_rows(self, trace: Trace) -> None:
        """A step's arrays of N sources with W rows each -> [N * W, ...], T = 1; self-attention over each row's own history."""
        if isinstance(self._memory, RecurrentMemory):
            return
        columns = self._past.own_columns().numpy()[:, :, None]
        for name, array in trace.arrays.items():
            if name.endswith("weights"):
                array = array.swapaxes(1, 2)  # [N, W, H, S]
                if "self_attention" in name:  # one row's own columns are the first
                    array = array[..., : columns.shape[-1]] if self._copies == 1 else np.take_along_axis(array, columns, 3)
                trace.arrays[name] = array.reshape(-1, array.shape[2], 1, array.shape[3])
            else:
                trace.arrays[name] = array.reshape(-1, 1, array.shape[-1])

    def _advance_by(self, ids: Tensor, trace: Trace | None) -> Tensor:
        """Feed T tokens of each row at once, [N, T]; returns hidden [N, T, D]."""
        if not self.traces_together:  # each token is read at its own length
            return torch.cat([self._advance_one(column) for column in ids.split(1, 1)], 1)
        return self._advance(ids, self._past.step(ids.shape[1]), trace)

    def _advance_one(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """Feed one token of each row, [N, W]; returns hidden [N, W, D]."""
        if self._rereading is not None:
            self._rereading.before(ids, self._past, self._reread)
        return self._advance(ids, self._past.step(), trace)

    def _reread(self, sources: Tensor, ids: Tensor, offsets: Tensor, lengths: Tensor) -> Past:
        """Rows of `sources` [R] in caches of their own: ids [R, T], the first `offsets` [R] of them padding, as if their texts
        had `lengths` [R]."""
        past = Past(len(self._past.caches), len(ids), 1)
        memory = None if self._memory is None else self._memory.rows(sources)
        self._feed(ids, past.read(ids.shape[1], offsets), past, memory, lengths=lengths)
        return past

    def _advance(self, ids: Tensor, columns: Columns, trace: Trace | None = None) -> Tensor:
        """Feed ids [N, T] at `columns`; returns hidden [N, T, D]."""
        return self._feed(ids, columns, self._past, self._memory, trace)

    def _feed(self, ids: Tensor, columns: Columns, past: Past, memory: Memory, trace: Trace | None = None,
              lengths: Tensor | None = None) -> Tensor:
        """As `_advance`, for what is not this runner's own; lengths [N]: of texts, where the columns do not tell."""
        assert not isinstance(memory, RecurrentMemory)
        x = self.model.embed(self.model.target_embedding, ids)
        cross = (memory.keys_values, memory.mask) if memory else (None, None)
        return self.model.decoder(x, lengths, *cross, caches=past.caches, columns=columns, trace=trace,
                                  project=self.model.late_projection)

    def attention(self) -> np.ndarray:
        assert self._watched, "start was not told to watch"
        return self._seen.mean(1).reshape(-1, self._seen.shape[-1])  # of [N, H, W, S]

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
        parents = (index % self._copies).view(-1, self._copies)
        moved = self._past.gather(sources, parents)
        if self._rereading is not None:
            self._rereading.gather(sources, parents)
        if self._memory is not None and moved:
            self._memory = self._memory.rows(sources)

    @torch.inference_mode()
    def select(self, logits: np.ndarray, best: int) -> Best:
        return _best(torch.from_numpy(logits), best)

    def drop(self, count: int) -> None:
        if isinstance(self._memory, RecurrentMemory):
            raise UsageError("a recurrent decoder cannot take back what it has read, so it does not guess ahead; leave out "
                             "lookup or draft")
        self._past.drop(count)
        if self._rereading is not None:
            self._rereading.drop(count)

    def hidden(self, prompt: bool = False) -> np.ndarray:
        return (self._prompt_hidden if prompt else self._hidden).float().numpy()

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
        elif self.model.config.kind == "encoder-decoder":
            again, _ = padded([[self.start_token, *row[:-1]] for row in rows], self.model.config.special.pad)
            hidden = self.model(ids, lengths, again, lengths, trace=trace)
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
        found = torch.log_softmax(logits, 1).gather(1, ids)
        return found.masked_fill_(top == -torch.inf, -torch.inf)  # of rows that have nothing else
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
