"""Texts of any length cut into windows: what completing, filling and denoising share. Not a task itself.

A window never holds tokens of two texts, so no text sees another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft import data
from weft.data import Ragged
from weft.spec import config as c
from weft.tasks.task import Encoded, Example, Task, chunks
from weft.text import Tokenizer

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

FEW = 20
"""Texts below this number are each split for validation, at nine tenths; of more, some are held out whole."""


class WindowTask(Task):
    """Examples are (text, ""). Encoded, a text is one target row, which `epoch` cuts."""

    windows = True

    def read(self, paths: Sequence[Path], options: TrainingOptions) -> list[Example]:
        return [(text, "") for text in data.read_texts(paths, options.source_column)]

    def hold_out(self, examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        if len(examples) >= FEW:
            order = np.random.default_rng(seed).permutation(len(examples))
            held = set(order[: max(1, min(1000, len(examples) // 20))].tolist())
            return ([one for i, one in enumerate(examples) if i not in held], [examples[i] for i in sorted(held)])
        cuts = [_cut(text) for text, _ in examples]
        return ([(text[:at], "") for (text, _), at in zip(examples, cuts, strict=True)],
                [(text[at:], "") for (text, _), at in zip(examples, cuts, strict=True) if text[at:].strip()])

    def texts(self, examples: Sequence[Example]) -> Iterator[str]:
        return (text for text, _ in examples)

    def encode(self, tokenizer: Tokenizer, examples: Sequence[Example], config: c.ModelConfig) -> Encoded:
        rows = Ragged(row for chunk in chunks(examples) for row in tokenizer.encode_batch([text for text, _ in chunk]))
        return Encoded(Ragged([[]] * len(rows)), rows)


def window_size(limit: int, options: TrainingOptions | None) -> int:
    """Tokens of a window: --context, but never more than the model has room for; all of that where nothing is trained."""
    return limit if options is None else min(limit, options.context)


def _cut(text: str) -> int:
    """Nine tenths into a text, at the end of a line if one is near."""
    at = len(text) * 9 // 10
    line = text.find("\n", at, at + 1000)
    return at if line < 0 else line + 1


def cut(rows: Ragged, size: int, generator: np.random.Generator | None) -> Iterator[tuple[np.ndarray, bool]]:
    """Windows of at most `size` tokens, and whether each is the end of its text.

    With a generator the first window of a longer text ends at a place drawn anew, so that no epoch has the same cuts.
    """
    for row in rows:
        start = 0
        if generator is not None and len(row) > size:
            start = int(generator.integers(1, size + 1))
            yield row[:start], False
        while start < len(row):
            yield row[start : start + size], start + size >= len(row)
            start += size
