"""A runner whose sources choose among their own shortlists (weft.text.shortlist) only, over any other runner.

Tokens outside have log-probability -inf, and the others are normalised without them. Each source has its own list, so that
nothing depends on the others of a batch. The engine multiplies by the list's rows of the output layer alone; other backends
compute all of it, and the rest is masked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft.spec.runner import Best
from weft.spec.trace import Trace

Lists = Callable[[Sequence[int]], np.ndarray]
"""The rising ids that a source may become."""


class ShortlistRunner:
    """`runner`, an encoder-decoder's, within `lists`."""

    def __init__(self, runner: Any, lists: Lists) -> None:
        self.runner, self.lists = runner, lists
        self._own: list[np.ndarray] = []
        """Of each source."""
        self._sources = np.empty(0, np.int64)
        """The source of each row."""
        self._limits = False
        """Whether the runner itself chooses among the lists."""

    def __copy__(self) -> ShortlistRunner:
        return ShortlistRunner(copy.copy(self.runner), self.lists)

    def __getattr__(self, name: str) -> Any:
        if name in ("runner", "lists"):  # of a runner that is being made
            raise AttributeError(name)
        return getattr(self.runner, name)

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        return self.runner.encode(source, trace), [self.lists(row) for row in source]

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        inner, self._own = memory
        self.runner.start(inner, copies, prefix, trace, watch)
        self._sources = np.arange(len(self._own)).repeat(copies)
        self._limits = hasattr(self.runner, "limit")
        if self._limits:
            self.runner.limit(self._own)

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        if best is not None and trace is None and self._limits:
            return self.runner.step(tokens, best, banned)
        each = np.size(tokens) // len(tokens)  # tokens of a row
        logits = self._masked(self.runner.step(tokens, trace=trace), self._sources.repeat(each))
        if trace is not None and "logits" in trace.arrays:
            trace.arrays["logits"] = logits[:, None].copy()
        if best is None:
            return logits
        logits[:, list(banned)] = -np.inf
        return self.runner.select(logits, best)

    def gather(self, rows: np.ndarray) -> None:
        self.runner.gather(rows)
        self._sources = self._sources[rows]

    def logits(self, source: Sequence[Sequence[int]], target: Sequence[Sequence[int]], trace: Trace | None = None
               ) -> np.ndarray:
        """Teacher-forced, float32 [B, T, V]."""
        found = self.runner.logits(source, target, trace)
        for row, own in zip(found, source, strict=True):
            row[:, self._outside(self.lists(own), row.shape[1])] = -np.inf
        return found

    def _masked(self, logits: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """Rows of logits [rows, V] of these sources, in place."""
        for source in np.unique(sources):
            rows = np.flatnonzero(sources == source)
            logits[np.ix_(rows, np.flatnonzero(self._outside(self._own[source], logits.shape[1])))] = -np.inf
        return logits

    @staticmethod
    def _outside(own: np.ndarray, vocabulary: int) -> np.ndarray:
        """bool [V]."""
        outside = np.ones(vocabulary, bool)
        outside[own] = False
        return outside
