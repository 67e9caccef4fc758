"""Traces of searches that read before they choose: contrastive search's candidates, and guesses that are read ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.decode.fake import FakeRunner
from tests.decode.test_ahead import Forgetful
from tests.marian import EOS, random_marian, weft_model
from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.decode.recorder import Recorder
from weft.spec.decoding import GenerationOptions
from weft.spec.decoding_trace import RequestTrace
from weft.spec.trace import Trace

SOURCES = [[5, EOS], [4, 6, 7, EOS], [7, 7, EOS]]


def recorded(runner: Any, sources: list | None, options: GenerationOptions, **rest: Any) -> tuple[RequestTrace, ...]:
    recorder = Recorder(candidates=4)
    generate_batch(runner, sources, options, recorder=recorder, **rest)
    return recorder.requests


@pytest.mark.parametrize("rules", [{}, {"no_repeat_ngram": 2}], ids=str)
def test_contrastive_candidates_are_those_of_whole_passes(rules: dict) -> None:
    """Probability, degeneration penalty, and score before and after it, from teacher-forced hidden states."""
    alpha, k = 0.6, 4
    runner = TorchRunner(weft_model(random_marian(3, eos_bias=1.0)))
    options = GenerationOptions(penalty_alpha=alpha, top_k=k, max_new_tokens=7, banned=(0,), **rules)
    for source, request in zip(SOURCES, recorded(runner, SOURCES, options), strict=True):
        assert len(request.steps) == len(request.results[0].tokens)
        for number, step in enumerate(request.steps):
            told, history = step.continuations, [*request.prompt, *request.tokens(number, 0)]
            assert len(told) == k and told.fates[1:] == ("pruned",) * (k - 1)
            assert told.tokens[0] == request.results[0].tokens[number]
            assert (np.diff(told.measures["after"]) <= 0).all()
            for place, token in enumerate(told.tokens.tolist()):
                states = _states(runner, source, [*history, token])
                likeness = (states[:-1] @ states[-1]).max()
                p = np.exp(step.log_probs[-1, 0, step.candidates[0].tolist().index(token)])
                assert np.exp(told.log_probs[place]) == pytest.approx(p, abs=1e-6)
                assert told.measures["likeness"][place] == pytest.approx(likeness, abs=1e-5)
                assert told.measures["before"][place] == pytest.approx((1 - alpha) * p, abs=1e-6)
                assert told.measures["after"][place] == pytest.approx((1 - alpha) * p - alpha * likeness, abs=1e-5)
        assert [step.continuations.fates[0] for step in request.steps] == ["kept"] * (len(request.steps) - 1) + ["finished"]


def _states(runner: TorchRunner, source: list[int], target: list[int]) -> np.ndarray:
    """Directions of the decoder's last hidden states, [T, D]."""
    whole = Trace("decoder.hidden")
    runner.logits([source], [target], whole)
    states = whole["decoder.hidden"][0]
    return states / np.linalg.norm(states, axis=1, keepdims=True)


@pytest.mark.parametrize("way", [{"lookup": 6}, {"lookup": 6, "sample": True, "temperature": 0.4, "seed": 2}, {"draft": "same"},
                                 {"draft": "other"}, {"draft": "other", "sample": True, "seed": 5}], ids=str)
def test_guesses_are_told_with_what_became_of_them(way: dict) -> None:
    salt = way.get("draft")
    draft = None if salt is None else FakeRunner(10, salt=salt.replace("same", ""))
    kind = Forgetful if draft is None else FakeRunner
    rest = {key: value for key, value in way.items() if key != "draft"}
    options = GenerationOptions(max_new_tokens=25, banned=(EOS,), **rest)
    runner, plain = kind(10), generate_batch(kind(10), SOURCES, options, draft=draft)
    requests = recorded(runner, SOURCES, options, draft=draft)
    assert [request.results[0].tokens for request in requests] == [found[0].tokens for found in plain]
    verdicts = set()
    for source, request in zip(SOURCES, requests, strict=True):
        tokens = request.results[0].tokens
        assert len(request.steps) == 25 and request.guesses
        for number, step in enumerate(request.steps):
            np.testing.assert_array_equal(step.scores[0, 0, :4], np.sort(
                kind(10).logits(tuple(source), (2, *tokens[:number])))[::-1][:4])
            if found := request.guess(number):
                verdicts.add(_check_guess(request, number, *found, tokens))
        rounds = [one.step for one in request.guesses]
        assert rounds == sorted(set(rounds)) and all(
            one.step + one.accepted <= other.step for one, other in zip(request.guesses, request.guesses[1:], strict=False))
    assert verdicts == ({True} if way in ({"lookup": 6}, {"draft": "same"}) else {True, False})


def _check_guess(request: RequestTrace, number: int, one: Any, place: int, tokens: tuple[int, ...]) -> bool:
    """Whether the guess came true, which the tokens and, of one that was drawn, the random number must say too."""
    right = place < one.accepted
    assert right == (one.tokens[place] == tokens[number])
    if not np.isnan(one.probabilities[place]):
        step = request.steps[number]
        p = np.exp(step.log_probs[-1, 0, step.candidates[0].tolist().index(one.tokens[place])])
        assert right == (step.drawn[0] < min(1.0, p / one.probabilities[place]))
    return right


def test_readings_are_of_each_request_where_they_are_decoded_one_by_one() -> None:
    runner = TorchRunner(weft_model(random_marian(3)))
    plain = recorded(runner, SOURCES, GenerationOptions(max_new_tokens=4))
    ahead = recorded(runner, SOURCES, GenerationOptions(max_new_tokens=4, lookup=2))
    for one, other in zip(plain, ahead, strict=True):
        assert one.reading.keys() == other.reading.keys()
        for name, array in one.reading.items():
            np.testing.assert_allclose(other.reading[name], array, atol=1e-5)
