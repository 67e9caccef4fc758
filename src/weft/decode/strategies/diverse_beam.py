"""Diverse beam search (Vijayakumar et al. 2016, algorithm 1, Hamming diversity): beams in groups unlike each other.

The groups take each step one after another. From a token's score a group takes `diversity` for every hypothesis of the
earlier groups of its request that goes on with that token at this step, as Hugging Face's group_beam_search and
fairseq's DiverseBeamSearch do. Each group has live and finished hypotheses of its own, W / groups of each, and is done
by itself; the answers are the best finished ones of all groups. Scores hold what was taken, as in both; log-probabilities
do not. Other than in Hugging Face's, a group that is done counts for nothing in the others, and equal scores go to the
earlier group.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weft.decode.best import best_of
from weft.decode.strategies.beam import Beam, Beams, Candidates, best_candidates, next_beams
from weft.decode.strategies.strategy import Batch
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best


class DiverseBeam(Beam):
    """Lists of live hypotheses stand request after request, group after group."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.best = None  # what is taken may bring any token up

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beam_groups > 1

    def choose(self, step: int, scores: np.ndarray | Best) -> Candidates:
        assert isinstance(scores, np.ndarray)
        log_probs = self.batch.chain.log_probs(scores, self.standing(), self.batch.banned(step))
        self.note(log_probs)
        by_group = log_probs.reshape(-1, self.groups, self.width, log_probs.shape[1])
        taken = np.zeros((len(by_group), log_probs.shape[1]), np.float32)
        found = []
        for group in range(self.groups):
            beams, live = self.beams.lists(slice(group, None, self.groups)), self.live[group :: self.groups]
            candidates = self._penalised(beams, by_group[:, group], taken)
            found.append(candidates)
            chosen, _ = next_beams(beams, candidates, self.reasons(candidates, beams, live) != "")
            row, beam = np.nonzero(np.isfinite(chosen.scores))
            np.add.at(taken, (row, chosen.tokens[row, beam, -1]), np.float32(self.options.diversity))
        return Candidates(*(np.stack([getattr(one, part) for one in found], 1).reshape(-1, self.candidates)
                            for part in ("scores", "parents", "tokens", "log_probs")))

    def _penalised(self, beams: Beams, log_probs: np.ndarray, taken: np.ndarray) -> Candidates:
        """The best candidates of one group by log_probs [Q, W, V] less taken [Q, V]."""
        best = best_of((log_probs - taken[:, None]).reshape(-1, log_probs.shape[2]), self.kept)
        candidates = best_candidates(beams, best, self.candidates)
        row = np.arange(len(log_probs))[:, None]
        return replace(candidates, log_probs=log_probs[row, candidates.parents, candidates.tokens])


STRATEGY = DiverseBeam
