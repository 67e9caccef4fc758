"""Several models as one: a runner made of runners, whose words count the same ids.

What it calls logits are log-probabilities of the mixture, which the softmax after them only makes sum to 1. Every strategy
works with it. Rules act on the mixture, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal

import numpy as np

from weft.decode.softmax import log_softmax
from weft.spec.runner import Best, Runner
from weft.spec.trace import Trace

Mean = Literal["probabilities", "log_probabilities"]


class EnsembleRunner:
    """The weighted mean of what several runners say (Sutskever et al. 2014, section 3.2, of probabilities).

    Members of an encoder-decoder ensemble may begin with start tokens of their own; a batch may grow as far as the
    smallest window allows.
    """

    def __init__(self, runners: Sequence[Runner], weights: Sequence[float], mean: Mean = "probabilities") -> None:
        """weights: one for each runner; of probabilities they sum to 1."""
        self.runners, self.weights, self.mean = list(runners), np.asarray(weights, np.float64), mean
        first = runners[0]
        self.eos, self.start_token, self.vocabulary_size = first.eos, first.start_token, first.vocabulary_size
        self.max_target = min(runner.max_target for runner in runners)
        self._begins = False

    def __copy__(self) -> EnsembleRunner:
        """The same models with state of their own, as a copy of any runner."""
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__ | {"runners": [copy(runner) for runner in self.runners]}
        return other

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        return [runner.encode(source, trace=one) for runner, one in self._traced(trace)]

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        self._begins = memory is not None
        for (runner, one), own in zip(self._traced(trace), memory or [None] * len(self.runners), strict=True):
            runner.start(own, copies, prefix, trace=one, watch=watch)

    def _traced(self, trace: Trace | None) -> list[tuple[Runner, Trace | None]]:
        """Each runner, with the trace for the first of them."""
        return [(runner, None if index else trace) for index, runner in enumerate(self.runners)]

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        found = [runner.step(self._own(runner, tokens), trace=one) for runner, one in self._traced(trace)]
        self._begins = False
        mixed = self._mix(found)
        if trace is not None:
            trace.add("logits", mixed[:, None])
        if best is None:
            return mixed
        mixed[:, list(banned)] = -np.inf
        return self.select(mixed, best)

    def _own(self, runner: Runner, tokens: np.ndarray) -> np.ndarray:
        """tokens [rows] or [rows, T], where the first of all is the runner's own start token."""
        if self._begins and runner.start_token != self.start_token:
            tokens = tokens.copy()
            tokens.reshape(len(tokens), -1)[:, 0] = runner.start_token
        return tokens

    def _mix(self, logits: Sequence[Any]) -> np.ndarray:
        """Logits of each runner, [rows, V] -> log-probabilities float32 [rows, V]."""
        total: Any = 0.0
        for weight, one in zip(self.weights, logits, strict=True):
            log_probs = log_softmax(one)
            total = total + weight * (log_probs if self.mean == "log_probabilities" else np.exp(log_probs))
        with np.errstate(divide="ignore"):
            return (total if self.mean == "log_probabilities" else np.log(total)).astype(np.float32)

    def gather(self, rows: np.ndarray) -> None:
        for runner in self.runners:
            runner.gather(rows)

    def select(self, logits: np.ndarray, best: int) -> Best:
        return self.runners[0].select(logits, best)

    def drop(self, count: int) -> None:
        for runner in self.runners:
            runner.drop(count)

    def attention(self) -> np.ndarray:
        """The weighted mean of the members' attention."""
        return sum(weight * runner.attention() for runner, weight in zip(self.runners, self.weights, strict=True)
                   ).astype(np.float32)

    def hidden(self, prompt: bool = False) -> np.ndarray:
        """Side by side, so that the cosine of two is the weighted mean of the members' cosines."""
        parts = [(runner.hidden(prompt), weight) for runner, weight in zip(self.runners, self.weights, strict=True)]
        return np.concatenate([np.sqrt(weight, dtype=np.float32) * states / np.maximum(
            np.linalg.norm(states, axis=-1, keepdims=True), np.finfo(np.float32).tiny) for states, weight in parts], -1)

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]], trace: Any = None) -> np.ndarray:
        """As the Runner's. A trace is of the first member."""
        found = [self._teach(runner, source, target) for runner in self.runners[1:]]
        first: Any = self.runners[0]
        given = first.logits(source, target) if trace is None else first.logits(source, target, trace)
        flat = [one.reshape(-1, one.shape[-1]) for one in (given, *found)]
        return self._mix(flat).reshape(given.shape)

    def _teach(self, runner: Runner, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]]) -> np.ndarray:
        return runner.logits(source, target if source is None else [[runner.start_token, *row[1:]] for row in target])


class FusionRunner(EnsembleRunner):
    """A model and a language model of what it writes: log p + weight * log p_lm (shallow fusion, Gulcehre et al. 2015,
    section 4.1), made to sum to 1.

    The language model is decoder-only. It reads the prompt of a decoder-only model, and no source of an encoder-decoder:
    there it begins with its own start token.
    """

    def __init__(self, runner: Runner, language_model: Runner, weight: float) -> None:
        super().__init__([runner, language_model], (1.0, weight), "log_probabilities")

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        return self.runners[0].encode(source, trace=trace), len(source)

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        model, language_model = self.runners
        self._begins = memory is not None
        own, sources = memory or (None, 0)
        model.start(own, copies, prefix, trace=trace, watch=watch)
        language_model.start(None, copies, [[]] * sources if prefix is None else prefix)

    def attention(self) -> np.ndarray:
        return self.runners[0].attention()

    def hidden(self, prompt: bool = False) -> np.ndarray:
        return self.runners[0].hidden(prompt)

    def _teach(self, runner: Runner, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]]) -> np.ndarray:
        rows = target if source is None else [[runner.start_token, *row[1:]] for row in target]
        return runner.logits(None, rows)
