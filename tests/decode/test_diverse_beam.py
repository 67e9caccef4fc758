"""Diverse beam search against a slow, obvious one; transformers 5 has removed its own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.decode.fake import FakeRunner
from weft.decode import generate_batch
from weft.decode.chain import log_softmax
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions

BANNED = (0, 1, 2)
SOURCES = [[int(token) for token in np.random.default_rng(seed).integers(4, 9, 1 + seed % 4)] for seed in range(40)]


def slow(runner: FakeRunner, source: list[int], options: GenerationOptions) -> list[tuple[tuple[int, ...], float]]:
    """Hugging Face's group_beam_search, one hypothesis, one token at a time."""
    groups, width, limit = options.beam_groups, options.beams // options.beam_groups, options.max_new_tokens
    live = [[((), 0.0)] for _ in range(groups)]
    finished: list[list] = [[] for _ in range(groups)]

    def penalty(length: int) -> float:
        base = (5 + length) / 6 if options.length_formula == "wu" else length
        return base**options.length_penalty

    for length in range(1, limit + 1):
        chosen: list[int] = []
        for group in range(groups):
            if not live[group]:
                continue
            candidates = []
            for beam, (tokens, score) in enumerate(live[group]):
                logits = runner.logits(tuple(source), (runner.start_token, *tokens))
                logits[list(BANNED)] = -np.inf
                for token, log_prob in enumerate(log_softmax(logits[None])[0]):
                    if np.isfinite(log_prob):
                        own = score + log_prob - options.diversity * chosen.count(token)
                        candidates.append((-own, beam, token, (*tokens, token)))
            candidates = sorted(candidates)[: 2 * width]
            live[group] = []
            for rank, (loss, _, token, tokens) in enumerate(candidates):
                if token == runner.eos or length == limit:
                    if rank < width:
                        finished[group].append((tokens, -loss / penalty(length)))
                elif len(live[group]) < width:
                    live[group].append((tokens, -loss))
            chosen += [tokens[-1] for tokens, _ in live[group]]
            finished[group] = sorted(finished[group], key=lambda one: -one[1])[:width]
            reach = {"exact": limit if options.length_penalty > 0 else length + 1}.get(options.early_stopping, length)
            if live[group] and len(finished[group]) == width and (
                    options.early_stopping == "first"
                    or live[group][0][1] / penalty(reach) <= finished[group][-1][1]):
                live[group] = []
    return sorted((one for own in finished for one in own), key=lambda one: -one[1])[: options.n_best]


@pytest.mark.parametrize("settings", [
    {"beams": 4, "beam_groups": 2, "diversity": 0.8}, {"beams": 4, "beam_groups": 4, "diversity": 1.5},
    {"beams": 6, "beam_groups": 3, "diversity": 0.3, "early_stopping": "first"}, {"beams": 6, "beam_groups": 2},
    {"beams": 4, "beam_groups": 2, "diversity": 5.0, "length_formula": "average", "early_stopping": "heuristic"},
    {"beams": 6, "beam_groups": 3, "diversity": 1.0, "length_penalty": -0.5}], ids=str)
def test_it_is_the_slow_search(settings: dict) -> None:
    options = GenerationOptions(n_best=settings["beams"], max_new_tokens=9, banned=BANNED, **settings)
    runner = FakeRunner(9)
    for source, found in zip(SOURCES, generate_batch(runner, SOURCES, options), strict=True):
        expected = slow(runner, source, options)
        assert [hypothesis.tokens for hypothesis in found] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([hypothesis.score for hypothesis in found], [score for _, score in expected], rtol=1e-5)


def test_log_probs_are_the_models_own() -> None:
    runner = FakeRunner(9)
    options = GenerationOptions(beams=4, n_best=4, beam_groups=2, diversity=3.0, max_new_tokens=6, length_penalty=0.0)
    penalised = 0
    for source, found in zip(SOURCES, generate_batch(runner, SOURCES, options), strict=True):
        for one in found:
            for step, (token, log_prob) in enumerate(zip(one.tokens, one.log_probs, strict=True)):
                logits = runner.logits(tuple(source), (runner.start_token, *one.tokens[:step]))
                assert log_prob == pytest.approx(log_softmax(logits[None])[0][token], abs=1e-5)
            taken = (sum(one.log_probs) - one.score) / 3.0
            assert taken == pytest.approx(round(taken), abs=1e-4) and taken > -1e-4
            penalised += round(taken) > 0
    assert penalised


def test_answers_are_less_alike_than_without_groups() -> None:
    def distinct(**settings: float) -> float:
        found = generate_batch(FakeRunner(12, 4.0), SOURCES, GenerationOptions(
            beams=4, n_best=4, max_new_tokens=8, min_new_tokens=7, banned=BANNED, **settings))
        return float(np.mean([len({one.tokens[step] for one in own}) for own in found for step in range(7)]))
    assert distinct(beam_groups=4, diversity=20.0) == 4.0 > distinct()


@pytest.mark.parametrize("settings", [{}, {"stop": ("x",)}])
def test_a_request_does_not_depend_on_its_neighbours(settings: dict) -> None:
    runner = FakeRunner(9)
    options = GenerationOptions(beams=6, n_best=6, beam_groups=3, diversity=0.7, max_new_tokens=9, **settings)
    stops = (lambda request, tokens: tokens[-2:] == [5, 6]) if settings else None
    limits = [1 + index % 9 for index in range(len(SOURCES))]
    together = generate_batch(runner, SOURCES, options, limits=limits, stops=stops)
    for index, source in enumerate(SOURCES):
        assert generate_batch(runner, [source], options, limits=[limits[index]], stops=stops) == [together[index]]


def test_groups_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="beams=4 cannot be cut into 3 groups of one size; make beams a multiple"):
        GenerationOptions(beams=4, beam_groups=3)
    with pytest.raises(UsageError, match=r"diversity=0\.5 does nothing without groups"):
        GenerationOptions(beams=4, diversity=0.5)
