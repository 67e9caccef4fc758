"""Greedy search: the likeliest token at every step, ties to the lowest id."""

from __future__ import annotations

import numpy as np

from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best


class Greedy(SingleRow):
    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.count = max(1, batch.options.logprobs)
        self.best = None if batch.chain.needs_logits else self.count

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beams == 1 and not options.draws and not options.penalty_alpha

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        if not isinstance(scores, Best):
            scores = self.batch.best(scores, self.standing(), self.count)
        return self.take(scores.tokens[:, 0], scores.log_probs[:, 0], scores)


STRATEGY = Greedy
