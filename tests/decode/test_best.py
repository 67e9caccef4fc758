"""The likeliest tokens and chosen scores, against sorting everything and np.where."""

from __future__ import annotations

import numpy as np
import pytest

from weft.decode.best import best_of, keep, listed


def scores(rows: int, size: int) -> np.ndarray:
    """Rounded, so that they tie, and many forbidden; in one row all but four, in one everything."""
    found = np.random.default_rng(size).normal(size=(rows, size)).round(1).astype(np.float32)
    found[:, ::3] = -np.inf
    found[1, 4:] = found[2] = -np.inf
    return found


@pytest.mark.parametrize("size", [5, 300, 5000])
@pytest.mark.parametrize("k", [1, 6, 130, 5000])
def test_the_likeliest_are_those_of_a_stable_sort(size: int, k: int) -> None:
    given = scores(7, size)
    order = np.argsort(-given, axis=1, kind="stable")[:, :k]
    found = best_of(given, k)
    np.testing.assert_array_equal(found.tokens, order)
    np.testing.assert_array_equal(found.log_probs, np.take_along_axis(given, order, 1))


@pytest.mark.parametrize("size", [5, 300, 5000])
def test_chosen_scores(size: int) -> None:
    given = scores(7, size)
    chosen = given > 0.5
    kept = np.where(chosen, given, -np.inf)
    np.testing.assert_array_equal(keep(given, chosen), kept)
    values, tokens = listed(given, chosen)
    assert values.shape[1] == max(1, chosen.sum(1).max()) and not np.isfinite(values[2]).any()
    for row, (own, ids) in enumerate(zip(values, tokens, strict=True)):
        count = int(chosen[row].sum())
        assert ids[:count].tolist() == np.flatnonzero(chosen[row]).tolist()
        np.testing.assert_array_equal(own, [*given[row][chosen[row]], *[-np.inf] * (len(own) - count)])
