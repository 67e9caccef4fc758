"""What greedy search and sampling share: one row a request, one token a step, done at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weft.decode.rows import Rows
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, TokenEvent, Top
from weft.spec.runner import Best

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder


class SingleRow:
    """Keeps each request's tokens and log-probabilities until its end."""

    rows = 1
    reports_steps = True
    watches = False

    def __init__(self, batch: Batch) -> None:
        self.batch, self.options, self.chain = batch, batch.options, batch.chain
        self.live = list(batch.requests)
        self._tokens: dict[int, list[int]] = {request.index: [] for request in self.live}
        self._log_probs: dict[int, list[float]] = {request.index: [] for request in self.live}
        self._tops: dict[int, list[Top]] = {request.index: [] for request in self.live}

    def standing(self) -> Rows:
        """Where the live rows stand."""
        tokens = np.array([self._tokens[request.index] for request in self.live], np.int64)
        return Rows(self.live, tokens.reshape(len(self.live), -1), self.batch.ends)

    def take(self, tokens: np.ndarray, log_probs: np.ndarray, best: Best | None = None) -> Outcome:
        """Give each live request its token, int64 [rows], and let the finished go. best: what to tell of the others."""
        self.refuse_dead(log_probs)
        if self.batch.recorder is not None:
            self.tell(self.batch.recorder, tokens, log_probs)
        events: list[GenerationEvent] = []
        kept = []
        tops = tops_of(best, self.options.logprobs, len(tokens))
        for row, (request, token, log_prob) in enumerate(
                zip(self.live, tokens.tolist(), log_probs.tolist(), strict=True)):
            generated = self._tokens[request.index]
            generated.append(token)
            self._log_probs[request.index].append(log_prob)
            self._tops[request.index].append(tops[row])
            events.append(TokenEvent(request.index, token, log_prob, top=tops[row]))
            reason = self.batch.reason(request, generated)
            if reason is None:
                kept.append(row)
            else:
                events.append(FinishedEvent(request.index, (self._hypothesis(request.index, reason),)))
        self.live = [self.live[row] for row in kept]
        rows = np.array(kept, dtype=np.int64)
        return Outcome(rows, tokens[rows], events)

    def tell(self, recorder: Recorder, tokens: np.ndarray, log_probs: np.ndarray) -> None:
        """Of the one token that each live request goes on with."""
        sums, scores = self.standings(log_probs[:, None])
        recorder.considered(self.live, sums, np.zeros((len(tokens), 1), np.int64), tokens[:, None], log_probs[:, None], scores)

    def standings(self, log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the live requests [Q, 1], and scores [Q, C] with one more token of log_probs [Q, C]."""
        sums = np.array([[sum(self._log_probs[request.index])] for request in self.live], np.float32)
        return sums, (sums + log_probs) / length_penalty(len(self._tokens[self.live[0].index]) + 1, self.options)

    def refuse_dead(self, log_probs: np.ndarray) -> None:
        """Raises UsageError for a row that has no token left to choose."""
        for row in np.flatnonzero(~np.isfinite(log_probs)).tolist():
            raise self.batch.dead(self.live[row], len(self._tokens[self.live[row].index]))

    def _hypothesis(self, index: int, reason: str) -> Hypothesis:
        tokens, log_probs, tops = self._tokens.pop(index), self._log_probs.pop(index), self._tops.pop(index)
        score = sum(log_probs) / length_penalty(len(tokens), self.options)
        return Hypothesis(tuple(tokens), tuple(log_probs), score, reason, tuple(tops) if self.options.logprobs else ())


def tops_of(best: Best | None, count: int, rows: int) -> list[Top]:
    """The `count` likeliest tokens of each row, with their log-probabilities."""
    if best is None or not count:
        return [()] * rows
    return [tuple(zip(ids, values, strict=True))
            for ids, values in zip(best.tokens[:, :count].tolist(), best.log_probs[:, :count].tolist(), strict=True)]


def length_penalty(length: int, options: GenerationOptions) -> float:
    """Semantics 5: what a sum of log-probabilities is divided by."""
    base = (5.0 + length) / 6.0 if options.length_formula == "wu" else length * 1.0
    return base**options.length_penalty
