"""Lexically constrained beam search against enumeration, and what it promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.decode.fake import FakeRunner
from tests.decode.test_strategies import BANNED, every_hypothesis
from weft.decode import generate_batch
from weft.decode.strategies.constrained_beam import _by_turns
from weft.decode.strategies.words import EXACT, Words
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions

SOURCES = [[int(token) for token in np.random.default_rng(seed).integers(4, 7, 1 + seed % 4)] for seed in range(30)]


def holds(tokens: tuple[int, ...], words: tuple[tuple[int, ...], ...]) -> bool:
    return all(any(tokens[i : i + len(word)] == word for i in range(len(tokens))) for word in words)


@pytest.mark.parametrize("words", [((4,),), ((5, 4),), ((4, 4),), ((4,), (5,)), ((4, 5), (5, 6)), ((4, 5), (5,)),
                                   ((6, 6), (4,)), ((5, 6), (6, 5)), ((4,), (5,), (6,), (4,)), ((4, 5, 4, 5, 6),),
                                   ((4, 5, 6), (6, 4, 5))], ids=str)
def test_a_wide_beam_finds_the_best_of_all_that_hold_the_words(words: tuple) -> None:
    runner, limit = FakeRunner(7), 5
    options = GenerationOptions(beams=64, n_best=3, max_new_tokens=limit, forced_words=words, banned=BANNED)
    for source, found in zip(SOURCES[:6], generate_batch(runner, SOURCES[:6], options), strict=True):
        scores = {tokens: score / ((5 + len(tokens)) / 6) for tokens, score in
                  every_hypothesis(runner, tuple(source), limit).items() if holds(tokens, words)}
        expected = sorted(scores, key=lambda tokens: -scores[tokens])[:3]
        assert [one.tokens for one in found] == expected
        assert [one.score for one in found] == pytest.approx([scores[tokens] for tokens in expected], abs=1e-4)


@pytest.mark.parametrize("beams", [2, 3, 6])
@pytest.mark.parametrize("words", [((7,),), ((5, 6, 7),), ((4, 8), (5,), (9, 9)), ((4, 5), (5, 4), (4, 4))], ids=str)
def test_a_narrow_beam_always_holds_the_words(beams: int, words: tuple) -> None:
    runner, needed = FakeRunner(10), Words(words).needed(0)
    options = GenerationOptions(beams=beams, n_best=beams, forced_words=words, banned=BANNED, length_formula="average")
    limits = [needed + index % 7 for index in range(len(SOURCES))]
    ended = 0
    for limit, found in zip(limits, generate_batch(runner, SOURCES, options, limits=limits), strict=True):
        for one in found:
            assert holds(one.tokens, words) and len(one.tokens) <= limit and one.reason in ("end", "limit")
            ended += one.finished
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert len({one.tokens for one in found}) == len(found)
    assert ended


def test_a_request_does_not_depend_on_its_neighbours() -> None:
    runner = FakeRunner(9)
    options = GenerationOptions(beams=4, n_best=2, forced_words=((5, 6), (7,)), min_new_tokens=2, max_new_tokens=9, logprobs=2)
    together = generate_batch(runner, SOURCES, options)
    for index, source in enumerate(SOURCES):
        assert generate_batch(runner, [source], options) == [together[index]]


def test_raw_scores_are_the_same_where_no_rule_takes_any() -> None:
    runner, settings = FakeRunner(9), {"beams": 4, "n_best": 4, "forced_words": ((5, 6), (7,)), "max_new_tokens": 9}
    renormalised, raw = (generate_batch(runner, SOURCES, GenerationOptions(beam_scores=scores, **settings))
                         for scores in ("renormalised", "raw"))
    for own, others in zip(renormalised, raw, strict=True):
        assert [one.tokens for one in own] == [one.tokens for one in others]
        assert [one.score for one in own] == pytest.approx([one.score for one in others], abs=1e-5)


def test_words_that_do_not_fit() -> None:
    runner, words = FakeRunner(9), ((4, 5), (5, 6), (8,))
    options = GenerationOptions(beams=3, forced_words=words, max_new_tokens=3)
    with pytest.raises(UsageError, match=r"request 0: forced_words take 4 tokens, but it may have at most 3 new ones; ask "
                                         r"for 4 or more \(max_new_tokens\), or for fewer words"):
        generate_batch(runner, SOURCES, options)
    (found,) = generate_batch(runner, SOURCES[:1], options, limits=[4])
    assert found[0].tokens in ((4, 5, 6, 8), (8, 4, 5, 6))


def test_an_answer_without_the_words_says_so() -> None:
    """A rule that nothing foresaw forbids the word: (5, 6) may not follow each other, whatever came before."""
    class Never:
        order, shapes = 5, False

        def __call__(self, logits: np.ndarray, rows: object) -> np.ndarray:
            logits, after = logits.copy(), rows.tokens[:, -1:] == 5
            logits[after.any(1), 6] = -np.inf
            return logits

    for limit in (2, 6):
        for source in SOURCES:
            ((one, *_),) = generate_batch(FakeRunner(9), [source], GenerationOptions(
                beams=3, n_best=3, forced_words=((5, 6),), max_new_tokens=limit, banned=BANNED), rules={"never": Never()})
            assert one.reason == "unmet" and not holds(one.tokens, ((5, 6),)) and np.isfinite(one.score)


def test_the_shortest_arrangement_is_found() -> None:
    chance = np.random.default_rng(5)
    for _ in range(40):
        words = tuple(tuple(chance.integers(0, 3, chance.integers(1, 4)).tolist()) for _ in range(chance.integers(1, 4)))
        automaton = Words(words)
        shortest = next(size for size in range(1, 12)
                        if any(holds(tokens, words) for tokens in itertools.product(range(3), repeat=size)))
        assert automaton.needed(0) == shortest, words
    many = Words([(token, token + 1) for token in range(EXACT + 1)])
    assert many.needed(0) == 2 * (EXACT + 1) and many.needed(many.after(0, 0)) == 2 * EXACT + 1


def test_banks_take_turns() -> None:
    assert _by_turns(np.array([[0, 0, 0, 2, 1, 2], [1, 1, 1, 0, -1, -1]])).tolist() == [[3, 4, 0, 5, 1, 2], [0, 3, 1, 2, 4, 5]]
