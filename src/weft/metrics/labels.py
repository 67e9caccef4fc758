"""Accuracy of labels, and F1 of entities through seqeval (Nakayama 2018)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weft.errors import UsageError
from weft.metrics.metric import Score, Texts

SAMPLES = 1000


def accuracy(outputs: Texts, references: Texts, *, confidence: bool = False) -> Score:
    """Share of outputs that equal their reference, in percent."""
    right = np.array([output == reference for output, reference in _paired(outputs, references)])
    interval = _interval(len(right), lambda rows: 100.0 * float(right[rows].mean())) if confidence else None
    return Score("accuracy", 100.0 * float(right.mean()), f"nrefs:1|bs:{SAMPLES if confidence else 1}", interval)


def entity_f1(outputs: Texts, references: Texts, *, confidence: bool = False) -> Score:
    """F1 of whole entities, micro-averaged, in percent. Texts are tags joined by spaces. Raises UsageError without seqeval."""
    try:
        from importlib.metadata import version

        from seqeval.metrics import f1_score
    except ImportError as error:
        raise UsageError("entity F1 needs the package seqeval: pip install 'weft[eval]'") from error
    pairs = [(output.split(), reference.split()) for output, reference in _paired(outputs, references)]

    def f1(rows: np.ndarray) -> float:
        return 100.0 * float(f1_score([pairs[i][1] for i in rows], [pairs[i][0] for i in rows], zero_division=0))

    interval = _interval(len(pairs), f1, samples=200) if confidence else None
    return Score("entity F1", f1(np.arange(len(pairs))), f"micro|exact|bio|seqeval:{version('seqeval')}", interval)


def _paired(outputs: Texts, references: Texts) -> list[tuple[str, str]]:
    if len(outputs) != len(references) or not outputs:
        raise UsageError(f"{len(outputs)} outputs and {len(references)} references; scores need as many of each, and "
                         f"at least one")
    return list(zip(outputs, references, strict=True))


def _interval(count: int, statistic: Callable[[np.ndarray], float], samples: int = SAMPLES) -> float:
    """Half the width of the 95% bootstrap interval."""
    generator = np.random.default_rng(12345)
    values = [statistic(generator.integers(count, size=count)) for _ in range(samples)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(high - low) / 2
