"""Guessers of speculative decoding: looking up in what was read, and a draft model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from weft.decode.ahead import Guess
from weft.decode.rows import Request, Rows
from weft.decode.strategies.sampling import draw, probabilities, random_stream
from weft.decode.strategies.strategy import Batch
from weft.spec.runner import Best

RUNS = (3, 2)
"""Tokens that must have come before for a look-up to find what followed them then, longest first."""


class Lookup:
    """Prompt look-up (Saxena 2023): what followed the last tokens where they came before, in the source, prompt or output.

    Where several places are the same, the latest counts. What is found at the end of the output goes round in circles.
    """

    def __init__(self, request: Request, most: int) -> None:
        self._pace = Pace(most)
        self._source = list(request.source)
        self._read = 0
        self._in_source = {run: end for end, run in _runs(self._source, 1, len(self._source))}
        self._in_output: dict[tuple[int, ...], int] = {}

    def guess(self, tokens: Sequence[int], most: int) -> list[Guess]:
        most = min(most, self._pace.next())
        if not most:
            return []
        self._in_output |= {run: end for end, run in _runs(tokens, self._read, len(tokens) - 1)}
        self._read = len(tokens) - 1
        return [Guess(token) for token in self._find(tokens, most)]

    def learn(self, right: int, of: int) -> None:
        self._pace.learn(right, of)

    def _find(self, tokens: Sequence[int], most: int) -> Sequence[int]:
        for size in RUNS:
            run = tuple(tokens[-size:])
            if run in self._in_output:
                found = tokens[self._in_output[run] :]
                return (list(found) * -(-most // len(found)))[:most]
            if run in self._in_source:
                return self._source[self._in_source[run] :][:most]
        return ()


def _runs(tokens: Sequence[int], start: int, stop: int) -> list[tuple[int, tuple[int, ...]]]:
    """(where it ends, run) of every run of tokens that ends at start + 1 to `stop`."""
    return [(end, tuple(tokens[end - size : end])) for end in range(start + 1, stop + 1) for size in RUNS if size <= end]


class Pace:
    """How many guesses are worth reading: twice as many after each that came true to the end, and never so many that looking
    for them and reading wrong ones costs more than a small share of all steps. So where nothing repeats, hardly anything is
    guessed, or even looked for."""

    FIRST = 2
    COST, LOOK = 0.2, 0.02
    """Of reading one guess along, and of looking for guesses, in steps: those of small models, where both are dearest."""
    GRACE = 0.5
    """Steps that the first guesses may cost."""
    SHARE = 0.01
    """Of all steps, what later ones may cost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = min(self.FIRST, most)
        self._balance = self.GRACE
        """Steps that may still be lost."""

    def next(self) -> int:
        """Guesses to look for and to read with this step."""
        self._balance += self.SHARE
        if self._balance < self.COST + self.LOOK:
            return 0
        self._balance -= self.LOOK
        return min(self._size, int(self._balance / self.COST))

    def learn(self, right: int, of: int) -> None:
        """Gains count as far as the next guesses need them, so that a text that no longer repeats does not use them up."""
        self._balance = min(self._balance + right - self.COST * of, 1 + self.COST * self._most)
        grown = 2 * self._size if right == of else max(self.FIRST, right)
        self._size = min(self._most, grown if right else self.FIRST)


class Draft:
    """A smaller model of the same tokenizer goes on by itself (Leviathan et al. 2023), by the same rules and draws."""

    def __init__(self, batch: Batch) -> None:
        """batch: its one request, and the draft model's runner."""
        self.batch, self.runner, self._chain = batch, batch.runner, copy(batch.chain)
        self._chain.recorder = None  # which hears of the model's own scores only
        (self.request,) = batch.requests
        self._random = random_stream(self.request, 1)  # apart from the numbers that decide what is kept
        self._read = list(self.request.prompt[:-1])
        self._fits = len(self._read) < self.runner.max_target
        if len(self.request.source):
            self.runner.start(self.runner.encode([self.request.source]), 1)
        elif self._fits:
            self.runner.start(None, 1, [self._read])
        self.runner.drop(0)  # so that one that cannot take back says so at once

    def guess(self, tokens: Sequence[int], most: int) -> list[Guess]:
        most = min(most, self.batch.options.draft_tokens, self.runner.max_target - len(tokens) + 1)
        if not self._fits or most < 1:
            return []
        same = next((i for i, (old, new) in enumerate(zip(self._read, tokens, strict=False)) if old != new),
                    min(len(self._read), len(tokens) - 1))
        if len(self._read) > same:
            self.runner.drop(len(self._read) - same)
        grown, guesses = list(tokens), []
        for _ in range(most):
            logits = self.runner.step(np.array([grown[same:]]))
            assert not isinstance(logits, Best)
            self._read, same = list(grown), len(grown)
            guesses.append(self._choose(logits[-1:], grown[len(self.request.prompt) :]))
            grown.append(guesses[-1].token)
        return guesses

    def learn(self, right: int, of: int) -> None:
        """It goes on guessing whatever comes of it: how far is for the caller to say."""

    def _choose(self, logits: np.ndarray, generated: list[int]) -> Guess:
        """logits [1, V] of what follows the tokens generated."""
        rows = Rows([self.request], np.array([generated], np.int64), self.batch.ends)
        logits = self._chain.ruled(logits, rows, self.batch.banned(len(generated)))
        if not self.batch.options.draws:
            return Guess(int(logits[0].argmax()))
        shaped = self._chain.shaped(logits, rows)
        return Guess(int(draw(shaped, np.array([self._random.random()]))[0]), probabilities(shaped)[0])
