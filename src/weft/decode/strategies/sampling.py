"""Sampling: one draw a step from the processed distribution (semantics 2 and 9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weft.decode.processors import processors_for
from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Outcome, Request
from weft.spec.decoding import Best, GenerationOptions, Runner


class Sampling(SingleRow):
    best = None

    def __init__(self, options: GenerationOptions, runner: Runner, requests: Sequence[Request]) -> None:
        super().__init__(options, runner, requests)
        self._processors = processors_for(options)
        self._generators = {request.index: _generator(request) for request in requests}

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.sample

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        assert isinstance(scores, np.ndarray)
        logits = scores.astype(np.float32, copy=True)
        logits[:, list(self.banned(step))] = -np.inf
        log_probs = log_softmax(logits)
        for processor in self._processors:
            logits = processor(logits)
        uniform = np.array([self._generators[request.index].random() for request in self.live])
        tokens = draw(logits, uniform)
        return self.take(step, tokens, log_probs[np.arange(len(tokens)), tokens])


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


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 [rows, vocabulary]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


STRATEGY = Sampling
