"""Lexically constrained beam search: forced words appear in every answer, in any order, each in one piece.

Dynamic beam allocation (Post and Vilar 2018): candidates are put into banks by how many tokens of the words they hold,
and every bank gets its share of the beam: the best of each are taken in turn, the fullest bank first, until the beam is
full (as in Hu et al. 2019). Besides the likeliest continuations, the tokens of the words are always candidates. Only a
hypothesis that holds all words may end, and one that could no longer write those that are left does not go on. Words
may overlap in the output.

Where bans and other rules leave nothing of the kind, the search goes on without the words; such an answer has the reason
"unmet" and is given only if there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from weft.decode.best import best_of
from weft.decode.rows import Request
from weft.decode.strategies.beam import Beam
from weft.decode.strategies.beams import Beams, Candidates
from weft.decode.strategies.strategy import Batch
from weft.decode.strategies.words import Words
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis
from weft.spec.runner import Best


class ConstrainedBeam(Beam):
    """The note "state" is the state of each live hypothesis."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.best = None  # a word's token may be any
        self.words, self.likeliest = Words(batch.options.forced_words), self.kept
        self.kept = min(self.kept + len(batch.ends) + len(self.words.tokens), batch.runner.vocabulary_size)  # not all may fit
        self.beams = replace(self.beams, notes={"state": np.zeros(self.beams.scores.shape, np.int64)})
        needed = self.words.needed(0)
        for request in batch.requests:
            if needed > request.limit:
                raise UsageError(f"request {request.index}: forced_words take {needed} tokens, but it may have at most "
                                 f"{request.limit} new ones; ask for {needed} or more (max_new_tokens), or for fewer words")

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return bool(options.forced_words)

    def choose(self, step: int, scores: np.ndarray | Best) -> Candidates:
        assert isinstance(scores, np.ndarray)
        best, of_words = self._log_probs(scores)
        self.note(best)
        shape, words = (*self.beams.scores.shape, -1), np.array(self.words.tokens)
        there = (best.tokens[:, :, None] == words).any(axis=1)
        tokens = np.concatenate((best.tokens, np.broadcast_to(words, there.shape)), 1).reshape(shape)
        log_probs = np.concatenate((best.log_probs, np.where(there, -np.inf, of_words)), 1).reshape(shape).astype(np.float32)
        after = self.words.after_each(np.broadcast_to(self.beams.notes["state"][..., None], tokens.shape), tokens)
        fits = self._fits(tokens, log_probs, after)
        fits &= (fits.cumsum(axis=2) <= self.likeliest) | _among(tokens, self.words.tokens)
        return self._deal(tokens, np.where(fits, log_probs, np.float32(-np.inf)), self.words.bank_of_each(after))

    def _log_probs(self, logits: np.ndarray) -> tuple[Best, np.ndarray]:
        """The likeliest tokens of each row, and log-probabilities of the words' tokens, float32 [rows, their number]."""
        chain, rows, words = self.batch.chain, self.standing(), self.words.tokens
        if chain.raw:
            log_probs = chain.log_probs(logits, rows, self.batch.banned(rows.step))
            return best_of(log_probs, self.kept), log_probs[:, words]
        logits = chain.ruled(logits, rows, self.batch.banned(rows.step))
        best = self.batch.runner.select(logits, self.kept)
        alive = best.log_probs[:, :1] > -np.inf
        highest = np.where(alive, np.take_along_axis(logits, best.tokens[:, :1], 1), np.float32(0.0))
        return best, logits[:, words] - (highest - np.where(alive, best.log_probs[:, :1], np.float32(0.0)))

    def _fits(self, tokens: np.ndarray, log_probs: np.ndarray, after: np.ndarray) -> np.ndarray:
        """bool [Q, W, N]: whether the words that are left fit after a token, which is no end before the last of them; true of
        all in a list that would have nothing to go on with, and has no answer yet."""
        room = np.array([request.limit for request in self.live]) - self.beams.length - 1
        fits = self.words.needed_by_each(after) <= room[:, None, None]
        fits &= ~_among(tokens, self.batch.ends) | (self.words.needed_by_each(self.beams.notes["state"]) == 0)[..., None]
        possible = np.isfinite(self.beams.scores[..., None] + log_probs)
        stuck = ~(possible & fits).any(axis=(1, 2)) & ~np.array([self._met(row) for row in range(len(self.live))])
        return fits | stuck[:, None, None]

    def _deal(self, tokens: np.ndarray, log_probs: np.ndarray, banks: np.ndarray) -> Candidates:
        """Candidates [Q, C], bank by turns, of continuations [Q, W, N]. What is not there has a score of -inf."""
        scores = self.beams.scores[..., None] + log_probs
        parents = np.broadcast_to(np.arange(self.width)[:, None], tokens.shape)
        scores, parents, tokens, log_probs, banks = (
            part.reshape(len(self.live), -1) for part in (scores, parents, tokens, log_probs, banks))
        order = np.lexsort((tokens, parents, -scores))
        turns = _by_turns(np.take_along_axis(np.where(np.isfinite(scores), banks, -1), order, 1))
        chosen = np.take_along_axis(order, turns[:, : self.candidates], 1)
        return Candidates(*(np.take_along_axis(part, chosen, 1) for part in (scores, parents, tokens, log_probs)))

    def _met(self, row: int) -> bool:
        return any(one.reason != "unmet" for one in self.finished[row])

    def reasons(self, candidates: Candidates, beams: Beams, live: Sequence[Request]) -> np.ndarray:
        reasons = super().reasons(candidates, beams, live)
        states = np.take_along_axis(beams.notes["state"], candidates.parents, 1)
        unmet = self.words.needed_by_each(self.words.after_each(states, candidates.tokens)) > 0
        return np.where((reasons != "") & unmet, "unmet", reasons)

    @staticmethod
    def worse(hypothesis: Hypothesis) -> tuple[float, ...]:
        return (hypothesis.reason == "unmet", -hypothesis.score)

    def grow(self, candidates: Candidates, ended: np.ndarray) -> tuple[Beams, np.ndarray]:
        beams, parents = super().grow(candidates, ended)
        order = np.argsort(-beams.scores, axis=1, kind="stable")
        beams = beams.pick(order)
        states = self.words.after_each(beams.notes["state"], beams.tokens[:, :, -1])
        return replace(beams, notes={**beams.notes, "state": states}), np.take_along_axis(parents, order, 1)

    def is_done(self, row: int) -> bool:
        """An answer without all words does not end the search for one with them."""
        over = self.beams.scores[row, 0] == -np.inf or self.beams.length >= self.live[row].limit
        return super().is_done(row) and (over or all(one.reason != "unmet" for one in self.finished[row]))


def _among(tokens: np.ndarray, few: Iterable[int]) -> np.ndarray:
    """bool, alike in shape: whether each is one of a few; np.isin, which sorts, is for many."""
    found = np.zeros(tokens.shape, bool)
    for token in few:
        found |= tokens == token
    return found


def _by_turns(banks: np.ndarray) -> np.ndarray:
    """int64 [Q, N]: places in an order so that the first of every bank, [Q, N], come first, of the fullest bank before the
    others, then the second of each. What is in bank -1 comes last."""
    place = np.broadcast_to(np.arange(banks.shape[1]), banks.shape)
    order = np.argsort(banks, axis=1, kind="stable")
    sorted_banks = np.take_along_axis(banks, order, 1)
    begins = np.diff(sorted_banks, axis=1, prepend=-2) != 0
    before = np.empty_like(order)  # in the same bank
    np.put_along_axis(before, order, place - np.maximum.accumulate(np.where(begins, place, 0), axis=1), 1)
    return np.lexsort((place, -banks, before, banks < 0))


STRATEGY = ConstrainedBeam
