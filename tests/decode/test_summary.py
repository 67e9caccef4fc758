"""What a trace keeps of a step's scores: by the engine, by NumPy, and one token at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.decode.test_shares import VOCABULARY, shapes_of_logits
from weft import _native
from weft.decode.summary import Summary, by_numpy, summary

NOBODY = np.empty(0, np.int64)
WAYS: list[Callable[..., Summary]] = [summary, by_numpy]


def slowly(stages: list[np.ndarray], count: int, rows: np.ndarray, tokens: np.ndarray) -> list[tuple[list, list]]:
    """Of each row its candidates, and of each stage (log of the sum, tokens removed, their probability before)."""
    found = []
    for row in range(len(stages[0])):
        after = [stage[row].astype(np.float64).tolist() for stage in stages]
        ranked = [sorted(range(len(scores)), key=lambda token, own=scores: (-own[token], token))[:count] for scores in after]
        listed = ranked[0] + [token for token in ranked[-1] if after[-1][token] > -math.inf]
        listed += [int(token) for other, token in zip(rows, tokens, strict=True) if other == row]
        numbers = []
        for stage, scores in enumerate(after):
            sums = [math.fsum(map(math.exp, one)) for one in (after[max(stage - 1, 0)], scores)]
            gone = [token for token, score in enumerate(scores) if score == -math.inf != after[max(stage - 1, 0)][token]]
            mass = math.fsum(math.exp(after[stage - 1][token]) for token in gone)
            share = 0.0 if stage == 0 else mass / sums[0] if sums[0] else math.nan
            numbers.append((math.log(sums[1]) if sums[1] else -math.inf, len(gone), share))
        found.append((list(dict.fromkeys(listed)), numbers))
    return found


def check(found: Summary, stages: list[np.ndarray], expected: list[tuple[list, list]]) -> None:
    longest = max(len(listed) for listed, _ in expected)
    assert found.candidates.shape == (len(expected), longest)
    for row, (listed, numbers) in enumerate(expected):
        assert found.candidates[row].tolist() == listed + [-1] * (longest - len(listed))
        np.testing.assert_array_equal(found.scores[:, row, : len(listed)], [stage[row, listed] for stage in stages])
        assert (found.scores[:, row, len(listed) :] == -np.inf).all()
        np.testing.assert_allclose(found.totals[:, :, row].T, numbers, rtol=3e-6, atol=1e-12)
    assert found.scores.dtype == np.float32 and found.totals.dtype == np.float64


@pytest.mark.parametrize("ways", WAYS)
def test_all_stages_at_the_size_of_real_vocabularies(ways: Callable[..., Summary]) -> None:
    """Bans of what is likely and of what is not, and processors that remove little, or nearly all."""
    chance = np.random.default_rng(1)
    for logits in shapes_of_logits():
        likeliest = logits.argmax(1)
        for banned in ([], [5], [int(likeliest[0]), 3, 3], likeliest.tolist()):
            allowed = logits.copy()
            allowed[:, banned] = -np.inf
            hotter = allowed / np.float32(0.7)
            cut = np.where(hotter < np.sort(hotter, 1)[:, -50, None], np.float32(-np.inf), hotter)
            for processed in ([], [hotter], [hotter, cut]):
                rows, tokens = chance.integers(0, len(logits), 9), chance.integers(0, VOCABULARY, 9)
                stages = [logits, *([allowed] if banned else []), *processed]
                check(ways(logits, banned, processed, 10, rows, tokens), stages, slowly(stages, 10, rows, tokens))


@pytest.mark.parametrize("ways", WAYS)
def test_nothing_left_and_more_candidates_than_tokens(ways: Callable[..., Summary]) -> None:
    logits = np.array([[1, 3, 3, -np.inf], [-np.inf] * 4, [0, 0, 0, 0]], np.float32)
    nothing = np.full_like(logits, -np.inf)
    for banned, processed in (([], []), ([1, 2, 0], []), ([0, 1, 2, 3], [nothing]), ([], [logits, nothing, nothing])):
        allowed = logits.copy()
        allowed[:, banned] = -np.inf
        stages = [logits, *([allowed] if banned else []), *processed]
        for count in (1, 3, 9):
            check(ways(logits, banned, processed, count, NOBODY, NOBODY), stages, slowly(stages, count, NOBODY, NOBODY))


@pytest.mark.parametrize(("change", "message"), [
    ({"banned": [4]}, "token ids from 4 to 4"), ({"banned": [-1]}, "token ids from -1 to -1"),
    ({"k": 0}, "one candidate or more"),
    ({"processed": [np.zeros((1, 4), np.float32)]}, "stages of other shapes"), ({"rows": np.array([2])}, "token 0 of row 2"),
    ({"tokens": np.array([4])}, "token 4 of row 0"), ({"tokens": NOBODY}, "a row for each token"),
    ({"model": np.zeros((2, 0), np.float32)}, "0 columns")])
def test_what_the_engine_refuses(change: dict, message: str) -> None:
    given = {"model": np.zeros((2, 4), np.float32), "banned": [1], "processed": [], "k": 2, "rows": np.array([0]),
             "tokens": np.array([0])}
    _native.summary(**given)
    with pytest.raises((ValueError, IndexError), match=message):
        _native.summary(**given | change)
