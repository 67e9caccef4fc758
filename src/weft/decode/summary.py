"""What the stages of one step made of its scores: the numbers that a trace keeps of a whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from weft.decode.best import best_of

try:
    from weft import _native
except ImportError:  # an installation without the engine
    _native = None  # type: ignore[assignment]


class Summary(NamedTuple):
    """Of R rows after S stages, as weft.spec.decoding_trace.Step says. totals: log_sums, removed, removed_mass, float64
    [3, S, R]."""

    candidates: np.ndarray
    scores: np.ndarray
    totals: np.ndarray


def summary(logits: np.ndarray, banned: Sequence[int], processed: Sequence[np.ndarray], count: int, rows: np.ndarray,
            tokens: np.ndarray) -> Summary:
    """Of the model's logits, float32 [R, V], of ids that are banned, which is a stage where there are any, and of what each
    processor made of the rest. tokens: chosen of some rows, int64 [N] both.

    Candidates of a row: the `count` likeliest of the model, those of the last stage that it leaves, and those chosen.
    """
    if _native is not None:
        return Summary(*_native.summary(logits, banned, processed, count, rows, tokens))
    return by_numpy(logits, banned, processed, count, rows, tokens)


def by_numpy(logits: np.ndarray, banned: Sequence[int], processed: Sequence[np.ndarray], count: int, rows: np.ndarray,
             tokens: np.ndarray) -> Summary:
    """`summary` without the engine."""
    allowed = logits.copy()
    allowed[:, list(banned)] = -np.inf
    stages = [logits, *([allowed] if len(banned) else []), *processed]
    candidates = _candidates(stages, count, rows, tokens)
    shown, log_sums, removed, masses = [], [], [], []
    before, total, alive = np.empty(0), np.empty(0), np.empty(0, bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for stage, scores in enumerate(stages):
            highest = scores.max(axis=1)
            exps = np.exp(scores - np.where(np.isfinite(highest), highest, 0)[:, None])
            stays = scores != -np.inf
            gone = alive & ~stays if stage else np.zeros(scores.shape, bool)
            removed.append(np.count_nonzero(gone, axis=1))
            masses.append(np.where(gone, before, 0).sum(axis=1) / total if stage else np.zeros(len(scores)))
            before, total, alive = exps, exps.sum(axis=1, dtype=np.float64), stays
            log_sums.append(np.where(np.isfinite(highest), highest, 0) + np.log(total))
            shown.append(np.where(candidates < 0, np.float32(-np.inf), np.take_along_axis(scores, candidates, 1)))
    return Summary(candidates, np.stack(shown), np.array((log_sums, removed, masses), np.float64))


def _candidates(stages: Sequence[np.ndarray], count: int, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """int64 [R, C], -1 behind the last of a row."""
    listed = best_of(stages[0], count).tokens.tolist()
    if len(stages) > 1:
        last = best_of(stages[-1], count)
        for row, ids, left in zip(listed, last.tokens, last.log_probs > -np.inf, strict=True):
            row.extend(ids[left].tolist())
    for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
        listed[row].append(token)
    distinct = [list(dict.fromkeys(row)) for row in listed]
    most = max(map(len, distinct))
    return np.array([row + [-1] * (most - len(row)) for row in distinct], np.int64)
