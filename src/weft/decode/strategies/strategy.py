"""What the loop needs of a strategy. A strategy holds the state of its batch and nothing of the backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from weft.decode.ahead import Ahead
from weft.decode.chain import Chain
from weft.decode.rows import Request, Rows
from weft.decode.stopping import StopStrings
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import GenerationEvent, Reason
from weft.spec.runner import Best, Runner

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder

Stops = Callable[[Request, Sequence[int]], bool]
"""Whether what a request has generated so far ends it, besides end-of-sequence: a stop string, say."""


@dataclass(frozen=True)
class Batch:
    """What a strategy is made of: the requests that it decodes together, and how."""

    options: GenerationOptions
    runner: Runner
    requests: Sequence[Request]
    chain: Chain
    stops: Stops | None = None
    ahead: Ahead | None = None
    """The runner, where it guesses ahead."""
    recorder: Recorder | None = None

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end a text."""
        own = () if self.runner.eos is None else (self.runner.eos,)
        return frozenset((*own, *self.options.eos))

    def banned(self, step: int) -> Sequence[int]:
        """Ids that must not be chosen at this step (0 is the first): the options' own, and ends below the minimum length."""
        return (*self.options.banned, *sorted(self.ends)) if step < self.options.min_new_tokens else self.options.banned

    def best(self, logits: np.ndarray, rows: Rows, count: int) -> Best:
        """The likeliest tokens of each row by what hypotheses are scored by (semantics 2), of logits [R, V] without bans."""
        banned = self.banned(rows.step)
        if not self.chain.raw:
            return self.runner.select(self.chain.ruled(logits, rows, banned), count)
        if self.chain.rules:
            logits -= _log_sums(logits, self.runner.select(logits, 1))
        forbidden = logits[:, list(banned)]
        scores = self.chain.ruled(logits, rows, banned)
        best = self.runner.select(scores, count)
        values = np.take_along_axis(scores, best.tokens, 1)
        if not self.chain.rules:  # then the likeliest logits are found first, and made log-probabilities
            sums = np.concatenate((_log_sums(scores, best), forbidden), 1)
            values -= np.logaddexp.reduce(sums, axis=1, keepdims=True)
        return Best(best.tokens, values)

    def reason(self, request: Request, tokens: Sequence[int]) -> Reason | None:
        """Why a request is over once it has generated `tokens`; None if it goes on."""
        if tokens[-1] in self.ends:
            return "end"
        if self.stops is not None and self.stops(request, tokens):
            return "stop"
        return "limit" if len(tokens) >= request.limit else None

    def may_stop(self, tokens: np.ndarray) -> np.ndarray:
        """bool, alike in shape: whether `stops` may end a text whose last token this is, as far as the token tells."""
        if not isinstance(self.stops, StopStrings):
            return np.ones(tokens.shape, bool)
        return np.array([self.stops.may_end(token) for token in tokens.reshape(-1).tolist()], bool).reshape(tokens.shape)

    def dead(self, request: Request, length: int) -> UsageError:
        """The error of a request that has no token left to choose after `length` of them."""
        return UsageError(f"request {request.index}: no token is left to choose after {length} of them; the rules in force "
                          f"({', '.join(('bans', *self.chain.rules))}) forbid all")


def _log_sums(logits: np.ndarray, best: Best) -> np.ndarray:
    """float32 [R, 1]: the log of the sum of exp(logits [R, V]), whose likeliest tokens are known."""
    return np.take_along_axis(logits, best.tokens[:, :1], 1) - best.log_probs[:, :1]


@dataclass(frozen=True)
class Outcome:
    """A step's decision. parents: the old row that each surviving row continues; tokens: what it is fed next.

    Both int64 [rows left], the rows of a request together; empty when all requests are done. alive: bool [rows left], False for
    a row that only fills its request's place and holds no hypothesis; None if there is no such row.
    """

    parents: np.ndarray
    tokens: np.ndarray
    events: Sequence[GenerationEvent] = field(default_factory=tuple)
    alive: np.ndarray | None = None


class Strategy(Protocol):
    """rows: rows a request; best: how many likeliest tokens of each row it needs, None for full logits."""

    rows: int
    best: int | None
    reports_steps: bool
    """Whether to make StepEvents, and TokenEvents of beams, where the strategy has any."""
    watches: bool
    """Whether it asks for the runner's `attention` after every step."""

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        """Whether these options ask for this strategy; true for exactly one."""
        ...

    def __init__(self, batch: Batch) -> None: ...

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        """Choose. scores: logits float32 [rows, vocabulary], or a Best (without batch.banned(step)) if `best` is a number."""
        ...
