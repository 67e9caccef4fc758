"""What greedy search and sampling share: one row a request, one token a step, done at its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weft.decode.strategies.strategy import Outcome, Request, banned_ids
from weft.spec.decoding import GenerationOptions, Runner
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, TokenEvent


class SingleRow:
    """Keeps each request's tokens and log-probabilities until end-of-sequence or its limit."""

    rows = 1
    reports_steps = True

    def __init__(self, options: GenerationOptions, runner: Runner, requests: Sequence[Request]) -> None:
        self.options, self.eos = options, runner.eos
        self.live = list(requests)
        self._tokens: dict[int, list[int]] = {request.index: [] for request in requests}
        self._log_probs: dict[int, list[float]] = {request.index: [] for request in requests}

    def banned(self, step: int) -> Sequence[int]:
        return banned_ids(self.options, self.eos, step)

    def take(self, step: int, tokens: np.ndarray, log_probs: np.ndarray) -> Outcome:
        """Give each live request its token, int64 [rows], and let the finished go."""
        events: list[GenerationEvent] = []
        kept = []
        for row, (request, token, log_prob) in enumerate(
                zip(self.live, tokens.tolist(), log_probs.tolist(), strict=True)):
            self._tokens[request.index].append(token)
            self._log_probs[request.index].append(log_prob)
            events.append(TokenEvent(request.index, token, log_prob))
            if token == self.eos or step + 1 >= request.limit:
                events.append(FinishedEvent(request.index, (self._hypothesis(request, token == self.eos),)))
            else:
                kept.append(row)
        self.live = [self.live[row] for row in kept]
        rows = np.array(kept, dtype=np.int64)
        return Outcome(rows, tokens[rows], events)

    def _hypothesis(self, request: Request, finished: bool) -> Hypothesis:
        tokens, log_probs = self._tokens.pop(request.index), self._log_probs.pop(request.index)
        score = sum(log_probs) / length_penalty(len(tokens), self.options)
        return Hypothesis(tuple(tokens), tuple(log_probs), score, finished)


def length_penalty(length: int, options: GenerationOptions) -> float:
    """Semantics 5: what a sum of log-probabilities is divided by."""
    base = (5.0 + length) / 6.0 if options.length_formula == "wu" else length * 1.0
    return base**options.length_penalty
