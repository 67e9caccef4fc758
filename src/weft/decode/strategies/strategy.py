"""What the loop needs of a strategy. A strategy holds the state of its batch and nothing of the backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from weft.spec.decoding import Best, GenerationOptions, Runner
from weft.spec.events import GenerationEvent


@dataclass(frozen=True)
class Request:
    """One input of a batch. limit: most new tokens (1 or more). Its random stream is (seed, stream)."""

    index: int
    limit: int
    seed: int = 0
    stream: int = 0


@dataclass(frozen=True)
class Outcome:
    """A step's decision. parents: the old row that each surviving row continues; tokens: what it is fed next.

    Both int64 [rows left], the rows of a request together; empty when all requests are done.
    """

    parents: np.ndarray
    tokens: np.ndarray
    events: Sequence[GenerationEvent] = field(default_factory=tuple)


class Strategy(Protocol):
    """rows: rows a request; best: how many likeliest tokens of each row it needs, None for full logits."""

    rows: int
    best: int | None
    reports_steps: bool
    """Whether to make StepEvents, where the strategy has any."""

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        """Whether these options ask for this strategy; true for exactly one."""
        ...

    def __init__(self, options: GenerationOptions, runner: Runner, requests: Sequence[Request]) -> None: ...

    def banned(self, step: int) -> Sequence[int]:
        """Ids that must not be chosen at this step (0 is the first)."""
        ...

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        """Choose. scores: logits float32 [rows, vocabulary], or a Best if `best` is a number."""
        ...


def banned_ids(options: GenerationOptions, eos: int, step: int) -> Sequence[int]:
    """Semantics 2, bans: the options' own, and end-of-sequence below the minimum length."""
    return (*options.banned, eos) if step < options.min_new_tokens else options.banned
