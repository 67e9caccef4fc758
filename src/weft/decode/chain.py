"""The processors of one run, and the log-probabilities that come out of them (semantics 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weft.decode.processors import Processor, processors_for
from weft.decode.rows import Rows
from weft.decode.softmax import log_softmax
from weft.spec.decoding import GenerationOptions

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder


class Chain:
    """Rules, which every search follows, and shapes, which only sampling does."""

    def __init__(self, options: GenerationOptions, others: Mapping[str, Processor] | None = None,
                 recorder: Recorder | None = None) -> None:
        """others: rules besides those of the options, such as a grammar, after them."""
        self.recorder = recorder
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
        return self.ruled(log_softmax(logits), rows, banned) if self.raw else log_softmax(self.ruled(logits, rows, banned))

    def ruled(self, logits: np.ndarray, rows: Rows, banned: Sequence[int] = ()) -> np.ndarray:
        """Logits after bans and rules, float32 [R, V]; those given are written to."""
        logits = logits.astype(np.float32, copy=False)
        logits[:, list(banned)] = -np.inf
        return self._through(self.rules, logits, rows)

    def shaped(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        """What is drawn from, of logits after rules."""
        return self._through(self.shapes, logits, rows)

    def _through(self, processors: Mapping[str, Processor], logits: np.ndarray, rows: Rows) -> np.ndarray:
        for name, processor in processors.items():
            logits = processor(logits, rows)
            if self.recorder is not None:
                self.recorder.processed(name, logits)
        return logits
