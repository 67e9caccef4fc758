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

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from weft.decode.best import best_of
from weft.decode.rows import Request
from weft.decode.strategies.beam import Beam, Beams, Candidates
from weft.decode.strategies.strategy import Batch
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis
from weft.spec.runner import Best

Word = tuple[int, ...]
EXACT = 8
"""Most words whose shortest arrangement is looked for (2^words steps); overlaps of more are not counted on."""
OTHER = -1
"""Stands for every token that is in no word."""


class Words:
    """The words as an automaton. A state says of each word how much of it the output ends with: all, once it has come.

    States have numbers; the first is 0.
    """

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        distinct = list(dict.fromkeys(map(tuple, words)))
        self.words = [word for word in distinct if not any(word != other and _holds(other, word) for other in distinct)]
        self.tokens = sorted({token for word in self.words for token in word})
        self._states = [(0,) * len(self.words)]
        self._numbers = {self._states[0]: 0}
        self.after, self.needed, self.bank = cache(self._after), cache(self._needed), cache(self._bank)
        self._rest = cache(self._rest_of)

    def after_each(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """`after` of arrays alike in shape."""
        known = np.array([*self.tokens, OTHER])
        place = np.searchsorted(known[:-1], tokens)
        kind = np.where(known[place] == tokens, place, len(known) - 1)
        return _each(lambda pair: self.after(pair // len(known), int(known[pair % len(known)])), states * len(known) + kind)

    def needed_by_each(self, states: np.ndarray) -> np.ndarray:
        """`needed` of an array."""
        return _each(self.needed, states)

    def _after(self, state: int, token: int) -> int:
        """The state once `token` has come."""
        progress = tuple(done if done == len(word) else _overlap((*word[:done], token), word)
                         for done, word in zip(self._states[state], self.words, strict=True))
        if progress not in self._numbers:
            self._numbers[progress] = len(self._states)
            self._states.append(progress)
        return self._numbers[progress]

    def _needed(self, state: int) -> int:
        """Fewest tokens that bring the words that are left; 0 once all have come."""
        begun = {i: done for i, done in enumerate(self._states[state]) if done < len(self.words[i])}
        if len(self.words) > EXACT:
            return sum(len(self.words[i]) for i in begun) - max(begun.values(), default=0)
        return min((len(self.words[i]) - done + self._rest(frozenset(begun) - {i}, i) for i, done in begun.items()), default=0)

    def _rest_of(self, left: frozenset[int], last: int) -> int:
        """Fewest tokens that bring the words `left` behind the word `last`."""
        return min((len(self.words[i]) - _overlap(self.words[last], self.words[i]) + self._rest(left - {i}, i) for i in left),
                   default=0)

    def _bank(self, state: int) -> int:
        """Tokens of words that the output holds, those of the one word that it is in included."""
        whole = [len(word) for word in self.words]
        progress = self._states[state]
        return sum(done for done, size in zip(progress, whole, strict=True) if done == size) + \
            max((done for done, size in zip(progress, whole, strict=True) if done < size), default=0)


def _each(function: Callable[[int], int], numbers: np.ndarray) -> np.ndarray:
    """int64: the function of small numbers of 0 or more, called once for each distinct one."""
    distinct = np.flatnonzero(np.bincount(numbers.reshape(-1)))
    table = np.zeros(int(distinct[-1]) + 1, np.int64)
    table[distinct] = [function(number) for number in distinct.tolist()]
    return table[numbers]


def _overlap(tokens: Sequence[int], word: Word) -> int:
    """Length of the longest beginning of `word` that `tokens` end with."""
    return next((size for size in range(min(len(tokens), len(word)), 0, -1) if tuple(tokens[-size:]) == word[:size]), 0)


def _holds(tokens: Word, word: Word) -> bool:
    return any(tokens[start : start + len(word)] == word for start in range(len(tokens) - len(word) + 1))


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
        fits &= (fits.cumsum(axis=2) <= self.likeliest) | np.isin(tokens, words)
        return self._deal(tokens, np.where(fits, log_probs, np.float32(-np.inf)), _each(self.words.bank, after))

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
        fits &= ~np.isin(tokens, list(self.batch.ends)) | (self.words.needed_by_each(self.beams.notes["state"]) == 0)[..., None]
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
