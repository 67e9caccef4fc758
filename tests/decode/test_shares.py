"""Draws and shares of the probability at the sizes of real vocabularies, against sums that are made one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from weft.decode.nearest import nearest
from weft.decode.softmax import Softmax, log_softmax
from weft.decode.strategies.sampling import draw

VOCABULARY = 5000


def shapes_of_logits() -> Iterator[np.ndarray]:
    """Nearly flat to sharp; one likely token over a flat tail, and likely ones apart from it; with tokens forbidden."""
    rng = np.random.default_rng(7)
    for scale in (0.01, 0.5, 1.0, 3.0, 8.0):
        yield rng.normal(scale=scale, size=(6, VOCABULARY)).astype(np.float32)
    for peak in (4.0, 7.0, 9.0):
        logits = rng.normal(scale=0.3, size=(6, VOCABULARY)).astype(np.float32)
        logits[:, 17], logits[:, 400:420] = peak, peak - 3
        logits[::2, ::7] = -np.inf
        yield logits
    logits = np.full((3, VOCABULARY), -np.inf, np.float32)
    logits[:, 9], logits[1:, 30], logits[2:, 31] = 1.0, 1.0, -50.0
    yield logits


def farthest(distances: np.ndarray, probabilities: np.ndarray, share: float) -> float:
    """By sorting one row."""
    order = np.argsort(distances, kind="stable")
    return float(distances[order[int((probabilities[order].cumsum() < share).sum())]])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("centred", ["highest", "mean"])
def test_a_share_of_the_probability_around_a_centre(centred: str, share: float) -> None:
    for logits in shapes_of_logits():
        softmax = Softmax.of(logits)
        centre = softmax.highest if centred == "highest" else softmax.mean(logits)
        found = nearest(logits, softmax, centre, share)
        for row, out, middle in zip(logits.astype(np.float64), found, centre[:, 0].tolist(), strict=True):
            probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
            if centred == "mean":
                assert middle == pytest.approx((probabilities[probabilities > 0] * row[probabilities > 0]).sum(), abs=2e-5)
            kept, distances = np.isfinite(out), np.abs(row - middle)
            np.testing.assert_array_equal(out[kept], row[kept].astype(np.float32))
            # float32 may take the next token for the last one
            closest, widest = (farthest(distances, probabilities, share * (1 + sign * 1e-5)) for sign in (-1, 1))
            assert kept[distances < closest - 1e-6].all() and not kept[distances > widest + 1e-6].any()


def test_all_stay_where_the_share_is_nearly_everything() -> None:
    (logits, *_) = shapes_of_logits()
    softmax = Softmax.of(logits)
    np.testing.assert_array_equal(nearest(logits, softmax, softmax.highest, 1 - 1e-12), logits)


def test_a_draw_is_where_the_cumulative_probability_passes_the_number() -> None:
    rng = np.random.default_rng(8)
    for logits in shapes_of_logits():
        for uniform in (0.0, 1 - 2**-53, *rng.random(40)):
            found = draw(logits, np.full(len(logits), uniform))
            cumulative = np.exp(log_softmax(logits.astype(np.float64))).cumsum(1)
            tokens = np.arange(len(logits)), found
            assert np.isfinite(logits[tokens]).all()
            assert (cumulative[tokens] > uniform - 1e-6).all()
            assert (np.where(found > 0, cumulative[tokens[0], found - 1], 0.0) < uniform + 1e-6).all()


def test_a_draw_is_the_same_with_the_forbidden_left_out_and_whatever_the_neighbours() -> None:
    rng = np.random.default_rng(9)
    logits = rng.normal(scale=2.0, size=(8, VOCABULARY)).astype(np.float32)
    few = np.where(rng.random(logits.shape) < 0.01, logits, np.float32(-np.inf))
    for uniform in rng.random((50, 8)):
        apart = np.concatenate([draw(few[row : row + 1], uniform[row : row + 1]) for row in range(8)])
        np.testing.assert_array_equal(draw(few, uniform), apart)
        among_many = draw(np.concatenate((few, logits)), np.concatenate((uniform, uniform)))  # few rows are listed, many not
        np.testing.assert_array_equal(among_many[:8], apart)
