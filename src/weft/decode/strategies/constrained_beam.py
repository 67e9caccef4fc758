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

from collections import Counter
from collections.abc import Sequence
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
        self.words = Words(batch.options.forced_words)
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
        log_probs = self.batch.chain.log_probs(scores, self.standing(), self.batch.banned(step))
        self.note(log_probs)
        log_probs = log_probs.reshape(*self.beams.scores.shape, -1)
        dealt = [self._deal(row, own, self._fitting(row, own)) for row, own in enumerate(log_probs)]
        return Candidates(*(np.stack(part) for part in zip(*dealt, strict=True)))

    def _fitting(self, row: int, log_probs: np.ndarray) -> np.ndarray:
        """log_probs [W, V] of one list, -inf after which the words that are left do not fit, and for ends before the last;
        as they are if that would leave nothing to go on with, and there is no answer yet."""
        room = self.live[row].limit - self.beams.length - 1
        fitting = log_probs.copy()
        for own, state in zip(fitting, self.beams.notes["state"][row].tolist(), strict=True):
            if self.words.needed(state):
                own[list(self.batch.ends)] = -np.inf
            fits = [token for token in self.words.tokens if self.words.needed(self.words.after(state, token)) <= room]
            if self.words.needed(self.words.after(state, OTHER)) > room:
                kept = own[fits]
                own[:] = -np.inf
                own[fits] = kept
            elif len(fits) < len(self.words.tokens):
                own[[token for token in self.words.tokens if token not in fits]] = -np.inf
        stuck = not np.isfinite(self.beams.scores[row] + fitting.max(1)).any()
        return log_probs if stuck and not self._met(row) else fitting

    def _deal(self, row: int, log_probs: np.ndarray, fitting: np.ndarray) -> tuple[np.ndarray, ...]:
        """Candidates of one list, bank by turns: scores, parents, tokens and log-probabilities, [C]. What is not there has a
        score of -inf."""
        totals, states, vocabulary = self.beams.scores[row], self.beams.notes["state"][row].tolist(), log_probs.shape[1]
        likeliest = best_of(fitting, self.kept).tokens
        words = np.broadcast_to(self.words.tokens, (self.width, len(self.words.tokens)))
        places = np.unique(np.concatenate((likeliest, words), 1) + vocabulary * np.arange(self.width)[:, None])
        parents, tokens = np.divmod(places, vocabulary)
        scores = totals[parents] + fitting[parents, tokens]
        order = np.argsort(-scores, kind="stable")
        order = order[np.isfinite(scores[order])]
        banks = [self.words.bank(self.words.after(states[parent], token))
                 for parent, token in zip(parents[order].tolist(), tokens[order].tolist(), strict=True)]
        chosen = order[np.array(_by_turns(banks), np.int64)[: self.candidates]]
        absent = self.candidates - len(chosen)
        return (np.concatenate((scores[chosen], np.full(absent, -np.inf, np.float32))),
                *(np.concatenate((part[chosen], np.zeros(absent, np.int64))) for part in (parents, tokens)),
                np.concatenate((log_probs[parents[chosen], tokens[chosen]], np.full(absent, -np.inf, np.float32))))

    def _met(self, row: int) -> bool:
        return any(one.reason != "unmet" for one in self.finished[row])

    def reasons(self, candidates: Candidates, beams: Beams, live: Sequence[Request]) -> np.ndarray:
        reasons = super().reasons(candidates, beams, live)
        for row, column in np.argwhere(reasons != "").tolist():
            state = int(beams.notes["state"][row, candidates.parents[row, column]])
            if self.words.needed(self.words.after(state, int(candidates.tokens[row, column]))):
                reasons[row, column] = "unmet"
        return reasons

    @staticmethod
    def worse(hypothesis: Hypothesis) -> tuple[float, ...]:
        return (hypothesis.reason == "unmet", -hypothesis.score)

    def grow(self, candidates: Candidates, ended: np.ndarray) -> tuple[Beams, np.ndarray]:
        beams, parents = super().grow(candidates, ended)
        order = np.argsort(-beams.scores, axis=1, kind="stable")
        beams = beams.pick(order)
        last = beams.tokens[:, :, -1]
        states = np.vectorize(self.words.after, otypes=[np.int64])(beams.notes["state"], last)
        return replace(beams, notes={**beams.notes, "state": states}), np.take_along_axis(parents, order, 1)

    def is_done(self, row: int) -> bool:
        """An answer without all words does not end the search for one with them."""
        over = self.beams.scores[row, 0] == -np.inf or self.beams.length >= self.live[row].limit
        return super().is_done(row) and (over or all(one.reason != "unmet" for one in self.finished[row]))


def _by_turns(banks: Sequence[int]) -> list[int]:
    """Indices so that the first of every bank come first, of the fullest bank before the others, then the second of each."""
    seen: Counter[int] = Counter()
    turns = []
    for index, bank in enumerate(banks):
        turns.append((seen[bank], -bank, index))
        seen[bank] += 1
    return [index for _, _, index in sorted(turns)]


STRATEGY = ConstrainedBeam
