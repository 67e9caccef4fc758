"""A runner whose logits are a fixed function of the source and the tokens so far: the loop's test double; and options."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.decode.defaults import override
from weft.spec.decoding import GenerationOptions
from weft.spec.presets import preset
from weft.spec.runner import Best
from weft.spec.trace import Trace


def following(tool: str, **options: Any) -> GenerationOptions:
    """Options with the preset of a tool."""
    return override(GenerationOptions(), options, preset(tool))


class FakeRunner:
    """Logits from a hash of (source, prefix), so that any search can be checked by enumeration. Another salt, other logits."""

    eos, start_token, max_target = 3, 2, 64

    def __init__(self, vocabulary: int = 8, sharpness: float = 2.0, salt: str = "") -> None:
        self.vocabulary_size, self.sharpness, self.salt = vocabulary, sharpness, salt
        self.most_rows = self.calls = 0

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> list[tuple[int, ...]]:
        return [tuple(row) for row in source]

    def start(self, memory: list | None, copies: int, prefix: Sequence[Sequence[int]] | None = None,
              trace: Trace | None = None) -> None:
        first = memory if memory is not None else [("prompt", *row) for row in prefix or []]
        self.rows = [(row, ()) for row in first for _ in range(copies)]

    def logits(self, source: tuple, prefix: tuple[int, ...]) -> np.ndarray:
        return (self._random(source, prefix).normal(size=self.vocabulary_size) * self.sharpness).astype(np.float32)

    def _random(self, source: tuple, prefix: tuple[int, ...]) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32((repr((source, prefix)) + self.salt).encode()))

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        assert len(tokens) == len(self.rows)
        self.calls += 1
        self.most_rows = max(self.most_rows, len(tokens))
        read = [[(source, (*prefix, *given[:size])) for size in range(1, len(given) + 1)]
                for (source, prefix), given in zip(self.rows, tokens.reshape(len(tokens), -1).tolist(), strict=True)]
        self.rows = [steps[-1] for steps in read]
        logits = np.stack([self.logits(*place) for steps in read for place in steps])
        if trace is not None:
            trace.add("logits", logits[:, None])
        if best is None:
            return logits
        logits[:, list(banned)] = -np.inf
        return self.select(logits, best)

    def select(self, logits: np.ndarray, best: int) -> Best:
        with np.errstate(divide="ignore", invalid="ignore"):
            log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        order = np.argsort(-logits, axis=1, kind="stable")[:, :best]
        return Best(order, np.where(np.isnan(log_probs), -np.inf, log_probs)[np.arange(len(order))[:, None], order])

    def gather(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[i] for i in rows]

    def drop(self, count: int) -> None:
        self.rows = [(source, prefix[: len(prefix) - count]) for source, prefix in self.rows]

    def hidden(self, prompt: bool = False) -> np.ndarray:
        """[rows, 4]; it has none of a prompt."""
        if prompt:
            return np.zeros((len({source for source, _ in self.rows}), 0, 4), np.float32)
        return np.stack([self._random(("hidden", *source), prefix).normal(size=4) for source, prefix in self.rows])
