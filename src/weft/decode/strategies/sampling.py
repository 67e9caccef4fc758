"""Sampling: one draw a step from the processed distribution (semantics 2 and 9)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weft.decode.ahead import Guess
from weft.decode.rows import Request
from weft.decode.softmax import Softmax, cumulative, log_softmax
from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best

FEW = 12
"""Where one token in this many is left, or fewer, the others are not looked at."""


class Sampling(SingleRow):
    best = None

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._generators = {request.index: random_stream(request) for request in batch.requests}

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.draws

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        assert isinstance(scores, np.ndarray)
        rows = self.standing()
        logits = self.chain.ruled(scores, rows, self.batch.banned(step))
        softmax = Softmax.of(logits)
        self.refuse_dead(logits.max(axis=1))
        uniform = np.array([self._generators[request.index].random() for request in self.live])
        if self.batch.recorder is not None:
            self.batch.recorder.drew(uniform)
        shaped = self.chain.shaped(logits, replace(rows, known=(logits, softmax)))
        guess = self.batch.ahead.proposal if self.batch.ahead else None
        tokens = draw(shaped, uniform) if guess is None else keep_or_draw(shaped, uniform, guess)
        return self.take(tokens, logits[np.arange(len(tokens)), tokens] - softmax.log_sums[:, 0], self._told(logits, softmax))

    def _told(self, logits: np.ndarray, softmax: Softmax) -> Best | None:
        """The likeliest tokens, where they are asked for."""
        if not self.options.logprobs:
            return None
        likeliest = self.batch.runner.select(logits, self.options.logprobs).tokens
        return Best(likeliest, np.take_along_axis(logits, likeliest, 1) - softmax.log_sums)


def random_stream(request: Request, *part: int) -> np.random.Generator:
    """The random stream of (seed, stream, draw), any non-negative integers, draw below 2^32; another one for each `part`.

    The stream comes last, so that no other key is spelt by the same 32-bit words.
    """
    key = (request.draw, *part, request.stream)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(request.seed, spawn_key=key)))


def draw(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """logits [rows, vocabulary], uniform numbers in [0, 1) [rows] -> ids int64 [rows].

    The first id at which the cumulative probability, in id order, exceeds the number.
    """
    possible = logits > -np.inf
    if np.count_nonzero(possible) * FEW < logits.size:
        return _draw_among(np.flatnonzero(possible), logits, uniform)
    sums = cumulative(np.exp(logits - logits.max(axis=1, keepdims=True)))
    return (sums > _thresholds(uniform, sums[:, -1])[:, None]).argmax(axis=1)


def _draw_among(places: np.ndarray, logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The same draw from the only ones possible, which stand at these places of all rows in a row: 1 or more of each."""
    rows, vocabulary = logits.shape
    first = np.searchsorted(places, np.arange(rows) * vocabulary)
    counts, values = np.diff(first, append=len(places)), logits.reshape(-1)[places]
    values -= np.repeat(np.maximum.reduceat(values, first), counts)
    sums = cumulative(np.exp(values))
    before = np.where(first > 0, sums[first - 1], 0)
    sums -= np.repeat(before, counts)  # right also where they went past 64 bits
    passed = sums > np.repeat(_thresholds(uniform, sums[first + counts - 1]), counts)
    return places[first + counts - np.add.reduceat(passed, first, dtype=np.int64)] % vocabulary


def _thresholds(uniform: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """uniform numbers times totals, int64, below the totals also where they are rounded."""
    return np.minimum((uniform * totals).astype(np.int64), totals - 1)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """logits [rows, vocabulary] -> float64, each row a distribution."""
    return np.exp(log_softmax(logits))


def keep_or_draw(logits: np.ndarray, uniform: np.ndarray, guess: Guess) -> np.ndarray:
    """One draw from p = softmax(logits [1, V]), by way of a token drawn from another distribution q: int64 [1].

    Leviathan et al. 2023, section 2.3: keep the guess x with probability min(1, p(x) / q(x)), else draw from max(p - q, 0).
    One number serves for both: what is left of it above that probability is as uniform. A guess that was not drawn is
    kept if it is what is drawn.
    """
    if guess.probabilities is None:
        return draw(logits, uniform)
    p, q, token = probabilities(logits)[0], guess.probabilities, guess.token
    kept = min(1.0, p[token] / q[token])
    rest = np.maximum(p - q, 0.0)
    if uniform[0] < kept or not rest.any():
        return np.array([token])
    with np.errstate(divide="ignore"):
        return draw(np.log(rest)[None], (uniform - kept) / (1.0 - kept))


STRATEGY = Sampling
