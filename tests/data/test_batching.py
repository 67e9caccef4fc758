"""Batches and splits: properties that must always hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from weft import data

LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=200)


@given(LENGTHS, st.integers(1, 300), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_every_example_once_within_budget_and_repeatable(rows: list, budget: int, seed: int, epoch: int) -> None:
    lengths = np.array(rows, dtype=np.int64).reshape(-1, 2)
    found = data.batches(lengths, budget, seed=seed, epoch=epoch)
    assert sorted(int(i) for batch in found for i in batch) == list(range(len(rows)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    again = data.batches(lengths, budget, seed=seed, epoch=epoch)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_little_padding_and_new_companions_each_epoch() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(14, 4, 20_000).clip(4, 40).astype(int)
    lengths = np.stack([source, (source * rng.normal(1.05, 0.15, 20_000)).clip(3, 50).astype(int)], 1)
    epochs = [data.batches(lengths, 4096, seed=0, epoch=epoch) for epoch in (0, 1)]
    padded = np.array([lengths[batch].max(0) * len(batch) for batch in epochs[0]]).sum(0)
    waste = 1 - lengths.sum(0) / padded
    assert waste[1] < 0.02 and waste[0] < 0.12
    companions = [{frozenset(batch.tolist()) for batch in epoch} for epoch in epochs]
    assert len(companions[0] & companions[1]) < 0.2 * len(companions[0])
    first = [lengths[batch, 1].mean() for batch in epochs[0][:20]]
    assert np.std(first) > 2, "batches come in no order of length"


def test_no_validation_text_is_trained_on() -> None:
    pairs = [(f"s{i % 700}", f"t{i % 900}") for i in range(3000)]
    train, held = data.hold_out(pairs, seed=0)
    assert held
    assert not {source for source, _ in train} & {source for source, _ in held}
    assert not {target for _, target in train} & {target for _, target in held}
    assert data.hold_out(pairs, seed=0) == (train, held) != data.hold_out(pairs, seed=1)
    train, held = data.hold_out([("a", "b")] * 10, seed=0)
    assert len(train) == 9 and len(held) == 1


def test_labels_stay_in_training() -> None:
    """Texts with the labels of the held-out ones are trained on, and a label that only one text has is not held out."""
    pairs = [(f"text {i % 90}", f"label {i % 3}") for i in range(100)] + [(f"rare {i}", f"own {i}") for i in range(40)]
    for seed in range(30):
        train, held = data.hold_out_labelled(pairs, lambda label: {label}, seed=seed, share=0.1)
        assert sorted(train + held) == sorted(pairs) and len(train) >= 120
        assert not {text for text, _ in train} & {text for text, _ in held}
        assert {label for _, label in held} <= {label for _, label in train}
    assert data.hold_out_labelled(pairs, lambda label: {label}, seed=1) == data.hold_out_labelled(
        pairs, lambda label: {label}, seed=1)
    tagged = [(f"word {i}", "O B-PER" if i % 2 else "O B-LOC") for i in range(50)]
    train, held = data.hold_out_labelled(tagged, lambda tags: set(tags.split()), seed=0)
    assert len(train) == 49 and len(held) == 1
