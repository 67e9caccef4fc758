"""Lexical shortlists: what is learned, against IBM model 1 in its textbook form, and what a file must hold."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from safetensors.numpy import save

from weft.errors import BundleError, DataError
from weft.text import shortlist
from weft.text.shortlist import Shortlist, learn, translation_chances

VOCABULARY = 12


def pairs() -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, VOCABULARY, rng.integers(1, 6)).tolist() for _ in range(60)]
    return sources, [[(token * 5 + 1) % VOCABULARY for token in source] + [3] * int(rng.integers(0, 2)) for source in sources]


def textbook(sources: list[list[int]], targets: list[list[int]], rounds: int) -> dict[tuple[int, int], float]:
    """Brown et al. 1993, section 4.1, token by token."""
    chances: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        totals: dict[int, float] = defaultdict(float)
        for source, target in zip(sources, targets, strict=True):
            words = [*source, VOCABULARY]
            for said in target:
                whole = sum(chances[word, said] for word in words)
                for word in words:
                    counts[word, said] += chances[word, said] / whole
                    totals[word] += chances[word, said] / whole
        chances = defaultdict(float, {(word, said): count / totals[word] for (word, said), count in counts.items()})
    return chances


@pytest.mark.parametrize("rounds", [1, 5])
def test_chances_are_the_textbooks(rounds: int) -> None:
    keys, chances = translation_chances(*pairs(), VOCABULARY, rounds)
    expected = textbook(*pairs(), rounds)
    assert len(keys) == len(expected) and (np.diff(keys) > 0).all()
    for key, chance in zip(keys.tolist(), chances.tolist(), strict=True):
        assert chance == pytest.approx(expected[divmod(key, VOCABULARY)], rel=1e-9)


def test_the_likeliest_are_kept() -> None:
    made, used = learn(*pairs(), VOCABULARY, frequent=1, per_token=2)
    expected = textbook(*pairs(), shortlist.ROUNDS)
    assert used == 60 and len(made.frequent) == 1
    for token in range(VOCABULARY):
        own = made.ids[made.starts[token] : made.starts[token + 1]].tolist()
        assert own == sorted(range(VOCABULARY), key=lambda said, t=token: (-expected[t, said], said))[:2]
        assert own[0] == (token * 5 + 1) % VOCABULARY
    assert made.of([4, 7]).tolist() == sorted({*made.frequent.tolist(), *made.ids[made.starts[4] : made.starts[5]].tolist(),
                                              *made.ids[made.starts[7] : made.starts[8]].tolist()})
    assert set(made.of([4], always=[11, 0])) == {*made.of([4]).tolist(), 11, 0}


def test_a_sample_is_learned_from_where_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "MOST_LINKS", 100)
    made, used = learn(*pairs(), VOCABULARY)
    assert 1 <= used < 60 and sum((len(a) + 1) * len(b) for a, b in list(zip(*pairs(), strict=True))[:used]) <= 100
    assert len(made.frequent) == VOCABULARY
    with pytest.raises(DataError, match="no pair has tokens on both sides"):
        learn([[1]], [[]], VOCABULARY)


def test_bytes() -> None:
    made, _ = learn(*pairs(), VOCABULARY, per_token=3)
    again = Shortlist.from_bytes(made.to_bytes(), VOCABULARY)
    assert all((getattr(made, name) == getattr(again, name)).all() for name in ("frequent", "starts", "ids"))
    ids = np.zeros(2, np.int32)
    for bad, message in ((b"{}", "no safetensors file"), (save({"frequent": ids}), "must hold frequent, ids and starts"),
                         (save({"frequent": ids.astype(np.int64), "starts": ids, "ids": ids}), "rows of int32"),
                         (made.to_bytes()[:-4], "no safetensors file"),
                         (save({"frequent": ids + 50, "starts": made.starts, "ids": made.ids}), "not one of 12 tokens"),
                         (save({"frequent": ids, "starts": made.starts[::-1] * 1, "ids": made.ids}), "not one of 12 tokens")):
        with pytest.raises(BundleError, match=message):
            Shortlist.from_bytes(bad, VOCABULARY)
    with pytest.raises(BundleError, match="not one of 13 tokens"):
        Shortlist.from_bytes(made.to_bytes(), 13)
