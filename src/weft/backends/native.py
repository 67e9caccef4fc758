"""The native Runner: the verbs of decoding over weft._native, without PyTorch. For Transformers of any family.

Texts stand next to each other without padding, and a row's result depends on its own text only, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from weft.backends.histories import depends_on_length, histories
from weft.backends.lowering import lower
from weft.backends.packs import Pack
from weft.backends.together import NativeTogether
from weft.errors import UsageError
from weft.spec import config as c
from weft.spec.runner import Best
from weft.spec.trace import Trace
from weft.tensors import Stored

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
"""The engine's names for them."""
MOST = 4096
"""Positions that are read at a time, so that buffers stay small however many texts there are."""
NUMBERS = 1 << 22
"""Logits held at a time where only a few of them are asked for."""
_NONE = np.empty(0, np.int32)


def is_available() -> bool:
    """Whether this installation has the engine."""
    try:
        import weft._native  # noqa: F401
    except ImportError:
        return False
    return True


def build_runner(config: c.ModelConfig, tensors: Mapping[str, Stored], precision: str, threads: int,
                 pack: Pack | None = None) -> NativeRunner:
    """A runner of every stored parameter of `config`. precision: of PRECISIONS. pack: where they are kept once they are packed.

    Raises UsageError for a part of the model that the engine does not know."""
    from weft import _native

    relative = {name: stored.wide() for name, stored in tensors.items() if name.endswith("relative_bias.weight")}
    lowered = lower(config, relative)
    programs = list(lowered.programs.items())
    weights: dict[str, tuple[str, Any]] = {
        name: (stored.kind, stored.bits if stored.kind == "F32" else stored.bits.view(np.uint16))
        for name, stored in tensors.items() if name not in relative}
    image = None if pack is None else pack.find(precision, programs)
    weights |= {name: ("F32", constant.array() if image is None else np.empty(constant.shape, np.float32))
                for name, constant in lowered.constants.items()}
    model = _native.load(programs, weights, PRECISIONS[precision], threads, image)
    if pack is not None and image is None:
        pack.write(model)
    return NativeRunner(config, model, list(lowered.names()))


class NativeRunner:
    """Runs `model` (weft._native.Model) for weft.decode. One batch at a time."""

    def __init__(self, config: c.ModelConfig, model: Any, points: Sequence[str]) -> None:
        """points: what a trace may ask for."""
        from weft import _native

        self.config, self.model, self.points = config, model, tuple(points)
        self.eos, self.start_token = config.special.eos, config.special.start
        self.vocabulary_size, self.max_target = config.vocabulary, config.window.target
        self._session, self._histories = _native.Session(model), histories(config.decoder)
        self._read_together = self._histories is None and not depends_on_length(config.decoder)
        self.traces_together = self._histories is None
        self._watched = ""
        """Name of the attention that `attention` tells of; none if nobody asks."""
        self._lengths: list[int] = []
        """Of the sources."""
        self._prompts: list[int] = []
        """Tokens that `start` read of each source."""
        self._waiting: list[list[int]] = []
        """Prompts that are read with the first step's tokens, so that the weights are gone through once less."""
        self._sources = np.empty(0, np.int64)
        """The source of each row."""
        self._seen = self._prompt_hidden = np.empty((0, 0, 0), np.float32)

    def __copy__(self) -> NativeRunner:
        """With a session of its own over the same weights."""
        return NativeRunner(self.config, self.model, self.points)

    def together(self, chunk: int) -> NativeTogether | None:
        """A session for many batches, of which each may begin at any time; None if angles go by the length of a text, which
        pieces of prompts do not tell. chunk: most tokens of prompts that are read while other rows wait."""
        return None if c.turns_by_length(self.config.decoder) else NativeTogether(copy(self), chunk, MOST)

    # ------------------------------------------------------------ the four verbs

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        memory, done = None, 0
        while done < len(source) or memory is None:
            some = source if trace is not None else _first(source[done:], MOST)
            lengths = [len(row) for row in some]
            self._session.encode(_flat(some), np.array(lengths, np.int32), _NONE, self._wanted(trace))
            self._tell_texts(trace, lengths)
            found, done = self._session.remember(), done + len(some)
            memory = found if memory is None else memory
            if memory is not found:
                memory.add(found)
        return memory, [len(row) for row in source]

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        self._watched = ""
        sources, self._lengths = (None, []) if memory is None else memory
        self._prompts = [len(row) for row in prefix or [()] * len(self._lengths)]
        if watch:
            self._watched = self._last_attention()
        self._session.start(len(self._prompts), sources)
        self._waiting = []
        if copies == 1 and trace is None and self._read_together and 0 < sum(self._prompts) <= MOST:
            self._waiting = [list(row) for row in prefix or ()]
        else:
            self._read(prefix, trace)
        if copies > 1:
            self._session.spread(copies)
        if self._histories is not None:
            self._histories.start(prefix or [()] * len(self._prompts), copies)
        self._sources = np.arange(len(self._prompts)).repeat(copies)

    def limit(self, lists: Sequence[np.ndarray]) -> None:
        """After `start`: `step` with `best` chooses among these rising ids of each source only."""
        self._session.limit([own.tolist() for own in lists])

    def _read(self, prefix: Sequence[Sequence[int]] | None, trace: Trace | None) -> None:
        """The prompts, each once, whatever the rows of its source."""
        self._prompt_hidden = np.zeros((len(self._prompts), max(self._prompts, default=0), self.config.width), np.float32)
        self._waiting = []
        if prefix is None or not any(self._prompts):
            return
        done = 0
        while done < len(prefix):
            some = prefix if trace is not None else _first(prefix[done:], MOST)
            counts = np.zeros(len(prefix), np.int32)  # the other rows wait
            counts[done : done + len(some)] = lengths = [len(row) for row in some]
            self._session.feed(_flat(some), counts, True, self._wanted(trace))
            _align(self._prompt_hidden[done:], _split(self._session.hidden(), lengths))
            done += len(some)
        self._tell_texts(trace, self._prompts, left=True)

    def _read_waiting(self, tokens: np.ndarray) -> None:
        """The prompts with the token behind each, whose hidden states alone stay."""
        rows = [[*row, token] for row, token in zip(self._waiting, tokens.tolist(), strict=True)]
        counts = np.array([len(row) for row in rows], np.int32)
        self._session.feed(_flat(rows), counts, True, [])
        self._prompt_hidden = np.zeros((len(rows), max(self._prompts), self.config.width), np.float32)
        _align(self._prompt_hidden, [states[:-1] for states in _split(self._session.hidden(), counts.tolist())])
        self._session.choose(np.cumsum(counts, dtype=np.int32) - 1)
        self._waiting = []

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        self._feed(np.ascontiguousarray(tokens, np.int32).reshape(len(tokens), -1), trace)
        if best is None:
            logits = self._session.logits()
            if trace is not None:
                trace.add("logits", logits[:, None])
            return logits
        best = min(best, self.vocabulary_size)
        if trace is None or not trace.wants("logits"):
            return Best(*self._session.best(best, [list(banned)]))
        ids, log_probs, logits = self._session.best(best, [list(banned)], True)
        trace.arrays["logits"] = logits[:, None]
        return Best(ids, log_probs)

    def _feed(self, ids: np.ndarray, trace: Trace | None) -> None:
        """T tokens of each row, [rows, T]."""
        wanted = self._wanted(trace) + ([self._watched] if self._watched else [])
        if self._waiting and (wanted or ids.shape[1] > 1):
            self._read(self._waiting, None)
        if self._waiting:
            self._read_waiting(ids[:, 0])
        elif self._histories is not None:
            steps: list[np.ndarray] = []
            for column in ids.T:
                places = self._histories.feed(self._session, column, wanted)
                steps.append(self._session.hidden())
            if len(steps) > 1:
                self._session.put(np.stack(steps, 1).reshape(ids.size, -1))
        else:
            self._session.feed(ids.reshape(-1), np.full(len(ids), ids.shape[1], np.int32), False, wanted)
            places = None
        if wanted:
            self._tell_step(trace, places, ids.shape[1])

    def gather(self, rows: np.ndarray) -> None:
        if self._waiting:
            self._read(self._waiting, None)
        self._session.gather(np.ascontiguousarray(rows, np.int32))
        if self._histories is not None:
            self._histories.gather(rows)
        self._sources = self._sources[rows]

    # ------------------------------------------------------------ for some ways of decoding

    def select(self, logits: np.ndarray, best: int) -> Best:
        return Best(*self._session.select(np.ascontiguousarray(logits, np.float32), min(best, logits.shape[1])))

    def drop(self, count: int) -> None:
        self._session.drop(count)
        if self._histories is not None:
            self._histories.drop(count)

    def hidden(self, prompt: bool = False) -> np.ndarray:
        if self._waiting:
            self._read(self._waiting, None)
        return self._prompt_hidden if prompt else self._session.hidden()

    def attention(self) -> np.ndarray:
        assert self._watched, "start was not told to watch"
        return self._seen.mean(1)

    def _last_attention(self) -> str:
        if not self._lengths:
            raise UsageError("this model's decoder has no attention to a source, which a coverage penalty goes by; leave out "
                             "coverage_penalty")
        assert self.config.decoder is not None
        return f"decoder.blocks.{self.config.decoder.layers - 1}.cross_attention.weights"

    # ------------------------------------------------------------ whole texts

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]],
               trace: Trace | None = None) -> np.ndarray:
        """Teacher-forced logits, float32 [B, T, V]; target rows start with the start token."""
        self._read_targets(None if source is None else self.encode(source, trace), target, trace)
        return _padded(_split(self._session.logits(), [len(row) for row in target]))

    def _read_targets(self, memory: Any, target: Sequence[Sequence[int]], trace: Trace | None) -> None:
        lengths = [len(row) for row in target]
        sources, self._lengths = (None, []) if memory is None else memory
        self._session.start(len(target), sources)
        self._session.feed(_flat(target), np.array(lengths, np.int32), True, self._wanted(trace))
        self._tell_texts(trace, lengths)

    def score(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None,
              trace: Trace | None = None) -> np.ndarray:
        """What the head says of whole texts, float32: [B, S, V] (language model), [B, S, labels] (tags), [B, labels]
        (classes) or [B, D] (embedding). types: kinds of segment (encoder-only)."""
        found = self._scores(rows, types, trace)
        return _padded(found) if found and found[0].ndim == 2 else np.stack(found)

    def score_all(self, rows: Sequence[Sequence[int]], most: int = MOST) -> list[np.ndarray]:
        """`score` of any number of texts, each by itself: about `most` positions at a time."""
        found: list[np.ndarray] = []
        while len(found) < len(rows):
            found += self._scores(_first(rows[len(found) :], most))
        return found

    def log_probs(self, rows: Sequence[Sequence[int]], most: int = MOST) -> list[np.ndarray]:
        """Decoder-only: float32 log p of every token of each row but its first, given those before it."""
        found: list[np.ndarray] = []
        while len(found) < len(rows):
            chosen = _first(rows[len(found) :], most)
            self._read_targets(None, [row[:-1] for row in chosen], None)
            wanted = np.array([token for row in chosen for token in row[1:]], np.int64)
            found += _split(self._log_probs(self._session.hidden(), wanted), [len(row) - 1 for row in chosen])
        return found

    def _log_probs(self, hidden: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """float32 [T] of token ids [T] after hidden states [T, D]: the whole vocabulary of a few positions at a time."""
        found, size = np.empty(len(wanted), np.float32), max(1, NUMBERS // self.vocabulary_size)
        for start in range(0, len(wanted), size):
            self._session.put(hidden[start : start + size])
            logits, ids = self._session.logits(), wanted[start : start + size]
            top = logits.max(1, keepdims=True)
            found[start : start + size] = logits[np.arange(len(ids)), ids] - top[:, 0] - np.log(np.exp(logits - top).sum(1))
        return found

    def _scores(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None,
                trace: Trace | None = None) -> list[np.ndarray]:
        head, lengths = self.config.head, [len(row) for row in rows]
        if self.config.kind == "encoder-only":
            kinds = _NONE if types is None else _flat(types)
            self._session.encode(_flat(rows), np.array(lengths, np.int32), kinds, self._wanted(trace))
            self._tell_texts(trace, lengths)
        elif self.config.kind == "encoder-decoder":
            self._read_targets(self.encode(rows, trace), [[self.start_token, *row[:-1]] for row in rows], trace)
        else:
            self._read_targets(None, rows, trace)
        if isinstance(head, c.LanguageModelHead | c.TagHead):
            return _split(self._session.logits(), lengths)
        pooled = np.stack([_pool(states, head.pooling) for states in _split(self._session.hidden(), lengths)])
        if isinstance(head, c.ClassificationHead):
            self._session.put(pooled)
            return list(self._session.logits())
        length = np.linalg.norm(pooled, axis=1, keepdims=True).clip(min=1e-12) if head.normalise else 1.0
        return list((pooled / length).astype(np.float32))

    # ------------------------------------------------------------ inspection

    def _wanted(self, trace: Trace | None) -> list[str]:
        return [] if trace is None else trace.among(self.points)

    def _points(self) -> dict[str, np.ndarray]:
        values, places = self._session.seen()
        return {name: np.ndarray(shape, np.float32, values, 4 * first) for name, first, shape in places}

    def _tell_texts(self, trace: Trace | None, lengths: Sequence[int], left: bool = False) -> None:
        """Whole texts to [B, ...], padded on the right or the left."""
        if trace is None:
            return
        longest = max(lengths, default=0)
        for name, array in self._points().items():
            if not name.endswith("weights"):
                texts = _split(array[:, 0], lengths)
                trace.arrays[name] = texts[0][None] if len(texts) == 1 else _padded(texts, left, longest)
                continue
            keys, maps = self._lengths if "cross" in name else lengths, _split(array[:, :, 0], lengths)
            if len(maps) == 1:
                trace.arrays[name] = maps[0].swapaxes(0, 1)[None]
                continue
            shown = np.zeros((len(lengths), maps[0].shape[1], longest, max(keys)), np.float32)
            for row, weights, length, own in zip(shown, maps, lengths, keys, strict=True):
                first, start = (longest - length, longest - own) if left else (0, 0)
                row[:, first : first + length, start : start + own] = weights[:, :, :own].swapaxes(0, 1)
            trace.arrays[name] = shown

    def _tell_step(self, trace: Trace | None, places: np.ndarray | None, each: int) -> None:
        """Steps of decoding, `each` of a row, as weft.spec.trace says. places: of their tokens among what was read, None for
        all."""
        seen = self._points()
        if places is not None:
            seen = {name: array[places] for name, array in seen.items()}
        if len(set(self._lengths)) > 1:
            seen |= {name: _widened(array, max(self._lengths)) for name, array in seen.items() if "cross" in name}
        if len(set(self._prompts)) > 1:
            blanks = (max(self._prompts) - np.array(self._prompts)[self._sources]).repeat(each)
            seen |= {name: _behind(array, blanks) for name, array in seen.items() if name.endswith("self_attention.weights")}
        if self._watched:
            self._seen = seen[self._watched][:, :, 0]
        if trace is not None:
            trace.arrays |= {name: seen[name] for name in trace.among(tuple(seen))} if self._watched else seen


def _flat(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.fromiter((token for row in rows for token in row), np.int32)


def _split(array: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Rows of texts that stand next to each other -> those of each text."""
    return np.split(array, np.cumsum(lengths)[:-1]) if len(lengths) > 1 else [array]


def _padded(texts: Sequence[np.ndarray], left: bool = False, longest: int | None = None) -> np.ndarray:
    """[B, longest, D] of texts [T, D]."""
    longest = max(map(len, texts)) if longest is None else longest
    found = np.zeros((len(texts), longest, texts[0].shape[-1]), np.float32)
    for row, text in zip(found, texts, strict=True):
        row[longest - len(text) if left else 0 :][: len(text)] = text
    return found


def _widened(weights: np.ndarray, width: int) -> np.ndarray:
    """[tokens, H, 1, positions] filled up with 0 to `width` positions: texts that were longer may have left."""
    return np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, width - weights.shape[3])))


def _behind(weights: np.ndarray, blanks: np.ndarray) -> np.ndarray:
    """[tokens, H, 1, positions] behind blanks [tokens], which those of the longest prompts do not have."""
    shown = np.zeros((*weights.shape[:3], weights.shape[3] + blanks.min()), np.float32)
    for row, own, blank in zip(shown, weights, blanks, strict=True):
        row[..., blank:] = own[..., : shown.shape[3] - blank]
    return shown


def _first(rows: Sequence[Sequence[int]], most: int) -> Sequence[Sequence[int]]:
    """As many of the first texts as have `most` positions together, but one at least."""
    total = np.cumsum([len(row) for row in rows])
    return rows[: max(1, int(np.searchsorted(total, most, "right")))]


def _pool(states: np.ndarray, pooling: str) -> np.ndarray:
    """[T, D] -> [D]."""
    return states.mean(0) if pooling == "mean" else states[0 if pooling == "first" else -1]


def _align(rows: np.ndarray, states: Sequence[np.ndarray]) -> None:
    """Writes [T, D] of each row into [rows, longest, D], at the right."""
    for row, own in zip(rows, states, strict=False):
        row[len(row) - len(own) :] = own
