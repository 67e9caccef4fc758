"""What generating yields, step by step. The terminal, the server and the playground only render these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal["end", "stop", "limit", "unmet"]
Top = tuple[tuple[int, float], ...]
"""(token id, log-probability) of the likeliest tokens of a step, best first."""


@dataclass(frozen=True)
class Hypothesis:
    """One finished sequence of one request.

    tokens: generated ids, end-of-sequence included if it was reached.
    log_probs: log-probability of each token, same length.
    score: length-penalised sum (semantics 5 in docs/decoding.md).
    reason: ended by end-of-sequence (end), by a stop string (stop), or at the limit of new tokens (limit); or it
    does not hold all its forced words, because no hypothesis that does was found (unmet).
    tops: what else was likely at each step, if asked for.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    score: float
    reason: str
    tops: tuple[Top, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether its last token is an end-of-sequence."""
        return self.reason == "end"


@dataclass(frozen=True)
class TokenEvent:
    """One request grew by one token, for good. With beams it comes once every hypothesis that may still win shares it.

    token: its id; -1 for text alone, held back until the end because it might have been half a character.
    """

    request: int
    token: int
    log_prob: float
    text: str = ""
    """The text that this token adds; may be empty in the middle of a character. Filled by the model facade."""
    top: Top = ()


@dataclass(frozen=True)
class StepEvent:
    """One beam step of one request: its live hypotheses, best first."""

    request: int
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True)
class FinishedEvent:
    """One request is done; its `n_best` hypotheses, best first."""

    request: int
    hypotheses: tuple[Hypothesis, ...]


GenerationEvent = TokenEvent | StepEvent | FinishedEvent
