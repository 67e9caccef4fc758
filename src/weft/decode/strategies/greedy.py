"""Greedy search: the likeliest token at every step, ties to the lowest id."""

from __future__ import annotations

import numpy as np

from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Outcome
from weft.spec.decoding import Best, GenerationOptions


class Greedy(SingleRow):
    best = 1

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beams == 1 and not options.sample

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        assert isinstance(scores, Best)
        return self.take(step, scores.tokens[:, 0], scores.log_probs[:, 0])


STRATEGY = Greedy
