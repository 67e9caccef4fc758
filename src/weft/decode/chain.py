"""The processors of one run, and the log-probabilities that come out of them (semantics 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from weft.decode.processors import Processor, processors_for
from weft.decode.rows import Rows
from weft.decode.softmax import log_softmax
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best


class Chain:
    """Rules, which every search follows, and shapes, which only sampling does."""

    def __init__(self, options: GenerationOptions, others: Mapping[str, Processor] | None = None) -> None:
        """others: rules besides those of the options, such as a grammar, after them."""
        made = processors_for(options)
        self.rules = {name: processor for name, processor in made.items() if not processor.shapes} | dict(others or {})
        self.shapes = {name: processor for name, processor in made.items() if processor.shapes}
        self.raw = options.beam_scores == "raw" and options.beams > 1

    @property
    def needs_logits(self) -> bool:
        """Whether a runner's likeliest tokens are not enough."""
        return bool(self.rules) or self.raw

    def log_probs(self, logits: np.ndarray, rows: Rows, banned: Sequence[int] = ()) -> np.ndarray:
        """logits [R, V] -> float32 [R, V]: what hypotheses are scored by. -inf where a rule forbids a token."""
        return self.ruled(log_softmax(logits).astype(np.float32), rows, banned) if self.raw else \
            log_softmax(self.ruled(logits, rows, banned)).astype(np.float32)

    def ruled(self, logits: np.ndarray, rows: Rows, banned: Sequence[int] = ()) -> np.ndarray:
        """Logits after bans and rules, float32 [R, V]."""
        logits = logits.astype(np.float32, copy=True)
        logits[:, list(banned)] = -np.inf
        return self._through(self.rules.values(), logits, rows)

    def shaped(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        """What is drawn from, of logits after rules."""
        return self._through(self.shapes.values(), logits, rows)

    def _through(self, processors: Iterable[Processor], logits: np.ndarray, rows: Rows) -> np.ndarray:
        for processor in processors:
            logits = processor(logits, rows)
        return logits


def best_of(log_probs: np.ndarray, k: int) -> Best:
    """The k likeliest of each row of log_probs [R, V], ties to the lowest id."""
    k = min(k, log_probs.shape[1])
    smallest = np.partition(log_probs, -k, axis=1)[:, -k]
    tokens = np.empty((len(log_probs), k), np.int64)
    for row, least in enumerate(smallest):
        ids = np.flatnonzero(log_probs[row] >= least)
        tokens[row] = ids[np.argsort(-log_probs[row, ids], kind="stable")[:k]]
    return Best(tokens, np.take_along_axis(log_probs, tokens, 1).astype(np.float32))
