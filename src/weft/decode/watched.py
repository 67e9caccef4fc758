"""A runner that tells a recorder what it computes, and the form in which it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.spec.runner import Best, Runner
from weft.spec.trace import Trace

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder


@dataclass
class Seen:
    """What became of R rows in a step before a strategy decides.

    logits: [R, V], as the model gives them; banned: ids; processed: what every processor made of the rest, by name; points:
    inspection points, [R, ...]; drawn: the random numbers, float64 [R].
    """

    logits: np.ndarray
    banned: Sequence[int]
    points: dict[str, np.ndarray]
    processed: dict[str, np.ndarray] = field(default_factory=dict)
    drawn: np.ndarray | None = None

    @classmethod
    def of(cls, trace: Trace, banned: Sequence[int]) -> Seen:
        """As a runner's step tells it."""
        points = dict(trace.arrays)
        return cls(points.pop("logits")[:, 0], banned, points)

    @property
    def stages(self) -> tuple[str, ...]:
        return ("model", *(("bans",) if len(self.banned) else ()), *self.processed)

    @classmethod
    def each(cls, trace: Trace, banned: Sequence[int], count: int) -> list[Seen]:
        """Of a step that read `count` tokens of one row together: as if they had come one by one."""
        whole, found = cls.of(trace, banned), []
        for place in range(count):
            one = whole.of_rows(slice(place, place + 1))
            for name, array in one.points.items():
                if name.endswith("self_attention.weights"):  # it saw nothing of those behind it
                    one.points[name] = array[..., : array.shape[-1] - (count - 1 - place)]
            found.append(one)
        return found

    def of_rows(self, rows: np.ndarray | slice) -> Seen:
        """These rows only."""
        return Seen(self.logits[rows], self.banned, {name: array[rows] for name, array in self.points.items()},
                    {name: scores[rows] for name, scores in self.processed.items()})


class Watched:
    """Verbs besides the four are the runner's own."""

    def __init__(self, runner: Runner, recorder: Recorder) -> None:
        self._runner, self._recorder = runner, recorder
        self.eos, self.start_token = runner.eos, runner.start_token
        self.vocabulary_size, self.max_target = runner.vocabulary_size, runner.max_target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None, **others: Any) -> Any:
        trace = Trace(*self._recorder.patterns) if trace is None else trace
        memory = self._runner.encode(source, trace=trace, **others)
        self._recorder.read(trace, [len(row) for row in source])
        return memory

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        trace = Trace(*self._recorder.patterns) if trace is None else trace
        self._runner.start(memory, copies, prefix, trace=trace, **({"watch": True} if watch else {}))
        if prefix is not None:
            self._recorder.read(trace, [len(row) for row in prefix])

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        """Several tokens are of one row, guesses behind the first: each may become a step."""
        if trace is not None:
            raise NotImplementedError("a recorder has a trace of its own")
        recorder, trace = self._recorder, Trace(*self._recorder.patterns)
        if tokens.ndim == 1 or tokens.shape[1] == 1:
            found = self._runner.step(tokens, best, banned, trace=trace)
            recorder.seen_ahead = [Seen.of(trace, banned)]
        elif getattr(self._runner, "traces_together", False):
            found = self._runner.step(tokens, best, banned, trace=trace)
            recorder.seen_ahead = Seen.each(trace, banned, tokens.shape[1])
        else:
            found, recorder.seen_ahead = self._one_by_one(tokens, best, banned)
        recorder.seen = recorder.seen_ahead[0]
        return found

    def _one_by_one(self, tokens: np.ndarray, best: int | None, banned: Sequence[int]) -> tuple[np.ndarray | Best, list[Seen]]:
        found: list[Any] = []
        seen = []
        for column in tokens.T:
            trace = Trace(*self._recorder.patterns)
            found.append(self._runner.step(column, best, banned, trace=trace))
            seen.append(Seen.of(trace, banned))
        if isinstance(found[0], Best):
            return Best(*(np.concatenate([getattr(one, part) for one in found]) for part in ("tokens", "log_probs"))), seen
        return np.concatenate(found), seen

    def gather(self, rows: np.ndarray) -> None:
        self._runner.gather(rows)
