"""Words that must all come, in any order, as an automaton of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

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

    def bank_of_each(self, states: np.ndarray) -> np.ndarray:
        """`bank` of an array."""
        return _each(self.bank, states)

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
