"""Diverse beam search (Vijayakumar et al. 2016, algorithm 1, Hamming diversity): beams in groups unlike each other.

The groups take each step one after another. From a token's score a group takes `diversity` for every hypothesis of the
earlier groups of its request that goes on with that token at this step, as Hugging Face's group_beam_search and
fairseq's DiverseBeamSearch do. Each group has live and finished hypotheses of its own, W / groups of each, and is done
by itself; the answers are the best finished ones of all groups. Scores hold what was taken, as in both; log-probabilities
do not. Other than in Hugging Face's, a group that is done counts for nothing in the others, and equal scores go to the
earlier group.
"""

from __future__ import annotations

import numpy as np

from weft.decode.strategies.beam import Beam
from weft.decode.strategies.beams import Beams, Candidates, next_beams
from weft.decode.strategies.strategy import Batch
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best


class DiverseBeam(Beam):
    """Lists of live hypotheses stand request after request, group after group."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.kept = min(self.kept + self.rows - self.width, batch.runner.vocabulary_size)  # so many may be brought down
        self.best = None if self.best is None else self.kept

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beam_groups > 1

    def choose(self, step: int, scores: np.ndarray | Best) -> Candidates:
        if not isinstance(scores, Best):
            scores = self.batch.best(scores, self.standing(), self.kept)
        self.note(scores)
        tokens, log_probs = (part.reshape(-1, self.groups, self.width, part.shape[1])
                             for part in (scores.tokens, scores.log_probs))
        taken = np.empty((len(tokens), 0), np.int64)
        found = []
        for group in range(self.groups):
            beams, live = self.beams.lists(slice(group, None, self.groups)), self.live[group :: self.groups]
            candidates = self._penalised(beams, tokens[:, group], log_probs[:, group], taken)
            found.append(candidates)
            chosen, _ = next_beams(beams, candidates, self.reasons(candidates, beams, live) != "")
            taken = np.concatenate((taken, np.where(np.isfinite(chosen.scores), chosen.tokens[:, :, -1], -1)), 1)
        return Candidates(*(np.stack([getattr(one, part) for one in found], 1).reshape(-1, self.candidates)
                            for part in ("scores", "parents", "tokens", "log_probs")))

    def _penalised(self, beams: Beams, tokens: np.ndarray, log_probs: np.ndarray, taken: np.ndarray) -> Candidates:
        """The best candidates of one group, of its likeliest tokens and their log_probs [Q, W, K], where each time that another
        group has taken one, [Q, any], costs."""
        times = (tokens[..., None] == taken[:, None, None]).sum(axis=3).astype(np.float32)
        scores = beams.scores[:, :, None] + (log_probs - np.float32(self.options.diversity) * times)
        parents = np.broadcast_to(np.arange(self.width)[:, None], tokens.shape)
        scores, parents, tokens, log_probs = (part.reshape(len(taken), -1) for part in (scores, parents, tokens, log_probs))
        best = np.lexsort((tokens, parents, -scores))[:, : self.candidates]
        return Candidates(*(np.take_along_axis(part, best, 1) for part in (scores, parents, tokens, log_probs)))


STRATEGY = DiverseBeam
