"""Several samples of one input, and minimum Bayes risk among candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weft
from tests.decode.fake import FakeRunner
from weft.decode import generate, generate_batch
from weft.decode.mbr import most_alike
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent

SOURCES = [[5], [4, 6, 7], [7, 7], [5, 4], [6], [6, 6, 6, 6]]


def drawn(sources: list, n: int, best_of: int | None = None, **more: object) -> list:
    options = GenerationOptions(sample=True, n=n, best_of=best_of, seed=4, min_new_tokens=5, max_new_tokens=9)
    return generate_batch(FakeRunner(20, 1.0), sources, options, **more)


def test_sample_i_is_the_same_whatever_n_and_the_neighbours_are() -> None:
    eight = drawn(SOURCES, 8)
    assert all(len({one.tokens for one in found}) == 8 for found in eight), "draws of their own"
    for n in (1, 2, 5):
        for few, many in zip(drawn(SOURCES, n), eight, strict=True):
            assert len(few) == n and {one.tokens for one in few} <= {one.tokens for one in many}
    for index, source in enumerate(SOURCES):
        assert drawn([source], 8, streams=[index]) == [eight[index]]
    seeded = drawn(SOURCES, 3, seeds=[9] * 6)
    assert [found for (found,) in (drawn([source], 3, seeds=[9]) for source in SOURCES)] == seeded


def test_the_first_draw_of_every_input_is_no_other_draw() -> None:
    """Streams of more than 32 bits, such as those of the pieces of one text, and draws do not share random numbers."""
    runner, options = FakeRunner(30, 0.5), GenerationOptions(sample=True, n=3, min_new_tokens=9, max_new_tokens=9)
    found = generate_batch(runner, [[5]] * 6, options, streams=[0, 1, 2, 1 << 32, 2 << 32, 1 << 64])
    assert len({one.tokens for own in found for one in own}) == 18


def test_the_best_of_many_are_kept_in_order_of_score() -> None:
    for every, best in zip(drawn(SOURCES, 9), drawn(SOURCES, 2, best_of=9), strict=True):
        assert [one.score for one in every] == sorted((one.score for one in every), reverse=True)
        assert best == every[:2]


def test_limits_events_and_greedy_draws() -> None:
    options = GenerationOptions(sample=True, n=3, max_new_tokens=9)
    events = list(generate(FakeRunner(20), SOURCES, options, limits=[0, 1, 2, 3, 4, 0]))
    assert all(isinstance(event, FinishedEvent) and len(event.hypotheses) == 3 for event in events)
    assert sorted(event.request for event in events) == list(range(6))
    assert all(len(one.tokens) <= limit for event in events for limit in [[0, 1, 2, 3, 4, 0][event.request]]
               for one in event.hypotheses)
    cold = generate_batch(FakeRunner(20), SOURCES, GenerationOptions(sample=True, temperature=0, n=2))
    assert [found[0] for found in cold] == [found[1] for found in cold]


@pytest.mark.parametrize("prompted", [False, True])
def test_the_encoder_runs_once_for_all_draws_and_results_are_those_of_one(prompted: bool, tmp_path: Path) -> None:
    from tests.bundles import bundle
    model = weft.load(bundle(tmp_path / "m", "gpt2" if prompted else "marian"))
    inputs = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9"]
    seen = []
    encode = model.runner.encode
    model.runner.encode = lambda rows: (seen.append(len(rows)), encode(rows))[1]  # type: ignore[method-assign]
    options = {"sample": True, "seed": 3, "max_new_tokens": 6, "beams": 1}
    many = model.generate(inputs, n=4, **options)
    assert seen == ([] if prompted else [3])
    for text, first, result in zip(inputs, model.generate(inputs, **options), many, strict=True):
        assert len(result.alternatives) == 4 and result.tokens == result.alternatives[0].tokens
        assert first.tokens in [one.tokens for one in result.alternatives]
        (alone,) = model.generate([text], n=4, first=inputs.index(text), **options)
        assert [one.tokens for one in alone.alternatives] == [one.tokens for one in result.alternatives]
        assert [one.score for one in alone.alternatives] == pytest.approx([one.score for one in result.alternatives], abs=1e-5)


def test_alternatives_of_pieces_are_put_together(tiny_bundle: Path) -> None:
    model = weft.load(tiny_bundle)
    text = "one two three four. five six seven! eight nine zero? " * 3
    (result,) = model.generate([text], sample=True, n=3, max_new_tokens=5)
    assert len(result.alternatives) == 3 and result.alternatives[0].text == result.text
    scores = [one.score for one in result.alternatives]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3


# ---------------------------------------------------------------- minimum Bayes risk


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_the_order_is_that_of_a_slow_double_loop(utility: str) -> None:
    from sacrebleu import sentence_bleu, sentence_chrf

    chance = np.random.default_rng(0)
    words = ["the", "cat", "cats", "sat", "on", "mat", "a", ""]
    for _ in range(15):
        texts = [" ".join(chance.choice(words, chance.integers(0, 6))).strip() for _ in range(8)]
        texts[3] = texts[5]

        def alike(text: str, other: str) -> float:
            if text == other:
                return 100.0
            return (sentence_chrf if utility == "chrf" else sentence_bleu)(text, [other]).score

        expected = [sum(alike(text, other) for j, other in enumerate(texts) if j != i) for i, text in enumerate(texts)]
        order = most_alike(texts, utility)
        assert sorted(order) == list(range(8))
        values = [expected[index] for index in order]
        assert values == pytest.approx(sorted(expected, reverse=True))
        assert order.index(3) < order.index(5), "equal candidates stay in order"


def test_few_and_blank_candidates() -> None:
    assert most_alike(["a b"], "chrf") == [0] and most_alike([], "bleu") == []
    assert most_alike(["", "", "yes"], "bleu") == [0, 1, 2] == most_alike(["", "", "yes"], "chrf")
    assert most_alike(["x", "y", "z"], "chrf") == [0, 1, 2], "ties go to the first"


def test_mbr_chooses_among_samples_and_among_beams(tiny_bundle: Path) -> None:
    model = weft.load(tiny_bundle)
    sampling = {"sample": True, "seed": 5, "temperature": 0.3, "max_new_tokens": 8}
    inputs = ["one two.", " ", "three four five."]
    for settings, every in ((sampling | {"mbr": 8, "n": 3}, sampling | {"n": 8}),
                            ({"beams": 6, "mbr": 6, "n_best": 3}, {"beams": 6, "n_best": 6})):
        candidates, chosen = model.generate(inputs, **every), model.generate(inputs, **settings)
        assert chosen[1].text == " "
        for found, result in ((candidates[i], chosen[i]) for i in (0, 2)):
            order = most_alike([one.text for one in found.alternatives], "chrf")
            assert [one.tokens for one in result.alternatives] == [found.alternatives[i].tokens for i in order[:3]]
            assert result.tokens == result.alternatives[0].tokens
    (one,) = model.generate(["one."], **sampling, mbr=4, mbr_utility="bleu")
    assert one.alternatives == ()


@pytest.mark.parametrize("options,message", [
    ({"n": 3}, "n=3 does nothing without sampling"),
    ({"sample": True, "n": 3, "best_of": 2}, "best_of is 2, fewer than the n = 3 samples to keep"),
    ({"sample": True, "mbr": 1}, "mbr is 1; a candidate needs others to be like: 2 or more, or 0 (off)"),
    ({"mbr": 4}, "mbr=4 wants as many candidates, but there are 1 beams; add sample=True (--sample) or ask for 4 beams"),
    ({"beams": 3, "mbr": 4}, "mbr=4 wants as many candidates, but there are 3 beams"),
    ({"sample": True, "mbr": 4, "n": 5}, "n is 5, more than the mbr=4 candidates; ask for at least as many"),
    ({"sample": True, "mbr": 4, "best_of": 5}, "best_of=5 and mbr=4 contradict each other; mbr says how many samples"),
    ({"sample": True, "mbr": 4, "mbr_utility": "ter"}, "mbr_utility is 'ter'; it must be 'chrf' or 'bleu'"),
    ({"mbr_utility": "bleu"}, "mbr_utility=bleu does nothing without mbr"),
])
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions(**options)
    assert message in str(error.value)


@pytest.mark.parametrize("options", [{"n": 2}, {"best_of": 3}, {"mbr": 4}])
def test_what_is_chosen_among_whole_answers_is_not_streamed(tiny_bundle: Path, options: dict) -> None:
    (name, value), = options.items()
    with pytest.raises(UsageError, match=f"{name}={value} cannot be streamed: which answer is given is known once all are"):
        list(weft.load(tiny_bundle).stream("one.", sample=True, **options))
