"""Speculative decoding: a runner that reads, along with each token, what a guesser expects after it.

It stands between the loop and a runner. Reading a few tokens takes little longer than reading one, so where guesses come true
their scores are there already, and the tokens that a guess was wrong about are taken back. A strategy gets the scores that it
would have got without guesses, at every position, so all rules and the choice itself stay what they are: greedy search gives
the same tokens, sampling draws from the same distribution. One request at a time: rows of a batch would come true
unequally far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weft.decode.rows import Request
from weft.spec.runner import Best, Runner
from weft.spec.trace import Trace

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder


@dataclass(frozen=True)
class Guess:
    """token: what may come next. probabilities: float64 [V], what it was drawn from; None if it was not drawn."""

    token: int
    probabilities: np.ndarray | None = None


class Guesser(Protocol):
    """One guesser serves one request."""

    def guess(self, tokens: Sequence[int], most: int) -> list[Guess]:
        """What may follow `tokens`, the prompt and all that was generated: at most `most` guesses, or none."""
        ...

    def learn(self, right: int, of: int) -> None:
        """How many of the last guesses came true."""
        ...


class Ahead:
    """A Runner of one row over another one."""

    def __init__(self, runner: Runner, guesser: Guesser, request: Request, recorder: Recorder | None = None) -> None:
        self.eos, self.start_token = runner.eos, runner.start_token
        self.vocabulary_size, self.max_target = runner.vocabulary_size, runner.max_target
        self.runner, self.guesser = runner, guesser
        self.request, self.recorder = request, recorder
        self._tokens = list(request.prompt[:-1])
        self._end = len(request.prompt) + request.limit - 1
        """Tokens that are ever read: the last one generated is not."""
        self._guesses: list[Guess] = []
        self._right = 0
        self._scores: np.ndarray | Best = np.empty(0)
        """Of the token read last, and of every guess: T rows."""
        self._asked: Any = None

    @property
    def proposal(self) -> Guess | None:
        """The guess at the token that is to be chosen now."""
        return self._guesses[self._right] if self._right < len(self._guesses) else None

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        return self.runner.encode(source, trace=trace)

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        self.runner.start(memory, copies, prefix, trace=trace)
        self.runner.drop(0)  # so that one that cannot take back says so at once

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        if trace is not None:
            raise NotImplementedError("a recorder watches the runner below, where every token is read")
        token = int(tokens[0])
        self._tokens.append(token)
        expected = self.proposal
        if expected is not None and expected.token == token and self._asked == (best, tuple(banned)):
            self._right += 1
        else:
            self._read(tokens, best, banned)
        if self.recorder is not None:
            self.recorder.seen = self.recorder.seen_ahead[self._right]
        return _row(self._scores, self._right) if self._guesses else self._scores

    def _read(self, tokens: np.ndarray, best: int | None, banned: Sequence[int]) -> None:
        """Read the token [1] and what may follow it, instead of what is left of the last guesses."""
        if self._guesses:
            self.guesser.learn(self._right, len(self._guesses))
            if self._right < len(self._guesses):
                self.runner.drop(len(self._guesses) - self._right)
        room = self._end - len(self._tokens)
        self._guesses, self._right = self.guesser.guess(self._tokens, room) if room > 0 else [], 0
        if self.recorder is not None:
            self.recorder.guessed(self.request, self._guesses)
        if self._guesses:
            tokens, self._asked = np.array([[*tokens, *(guess.token for guess in self._guesses)]]), (best, tuple(banned))
        self._scores = self.runner.step(tokens, best, banned)

    def gather(self, rows: np.ndarray) -> None:
        self.runner.gather(rows)

    def select(self, logits: np.ndarray, best: int) -> Best:
        return self.runner.select(logits, best)

    def drop(self, count: int) -> None:
        raise NotImplementedError("guesses over guesses")

    def hidden(self, prompt: bool = False) -> np.ndarray:
        return self.runner.hidden(prompt)[-1 - len(self._guesses) + self._right :][:1]

    def attention(self) -> np.ndarray:
        raise NotImplementedError("beams do not guess ahead")

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]]) -> np.ndarray:
        return self.runner.logits(source, target)


def _row(scores: np.ndarray | Best, row: int) -> np.ndarray | Best:
    if isinstance(scores, Best):
        return Best(scores.tokens[row : row + 1], scores.log_probs[row : row + 1])
    return scores[row : row + 1]
