"""Sampling: one draw a step from the processed distribution (semantics 2 and 9)."""

from __future__ import annotations

import numpy as np

from weft.decode.chain import best_of, log_softmax
from weft.decode.rows import Request
from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best


class Sampling(SingleRow):
    best = None

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._generators = {request.index: _generator(request) for request in batch.requests}

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.draws

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        assert isinstance(scores, np.ndarray)
        rows = self.standing()
        logits = self.chain.ruled(scores, rows, self.batch.banned(step))
        log_probs = log_softmax(logits)
        self.refuse_dead(log_probs.max(axis=1))
        uniform = np.array([self._generators[request.index].random() for request in self.live])
        tokens = draw(self.chain.shaped(logits, rows), uniform)
        told = best_of(log_probs, self.options.logprobs) if self.options.logprobs else None
        return self.take(tokens, log_probs[np.arange(len(tokens)), tokens], told)


def _generator(request: Request) -> np.random.Generator:
    """The random stream of (seed, stream), any non-negative integers."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(request.seed, spawn_key=(request.stream,))))


def draw(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """logits [rows, vocabulary], uniform numbers in [0, 1) [rows] -> ids int64 [rows].

    The first id at which the cumulative probability, in id order, exceeds the number.
    """
    probabilities = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    cumulative = probabilities.cumsum(axis=1)
    threshold = uniform[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(axis=1).astype(np.int64)


STRATEGY = Sampling
