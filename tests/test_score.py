"""Scores of given outputs are those that generating them reports, and those of the logits."""

from __future__ import annotations

import numpy as np
import pytest

import weft
from tests import bundles
from weft.errors import UsageError, WindowError

INPUTS = [[7, 8, 9], [5], [10, 11, 12, 13, 14], [30, 31]]
OPTIONS = [{}, {"beams": 3, "length_penalty": 0.5}, {"banned": (0, 1), "min_new_tokens": 3},
           {"sample": True, "seed": 3, "banned": (9, 12)}, {"beams": 2, "beam_scores": "raw", "banned": (9, 12)},
           {"regex": "( ?w[0-9]+){1,20}", "logprobs": 4}, {"logprobs": 3, "no_repeat_ngram": 2}]
COVERED = [{"beams": 3, "coverage_penalty": 0.7}, {"beams": 2, "coverage_penalty": 2.0, "length_formula": "average"}]
"""Of models with a source."""


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, weft.Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: weft.load(bundles.bundle(folder / name, name)) for name in ("bart", "llama", "gpt2")}


@pytest.mark.parametrize("name,options", [*((name, options) for name in ("bart", "llama") for options in OPTIONS),
                                          *(("bart", options) for options in COVERED)], ids=str)
def test_equal_to_what_generation_reports(models: dict[str, weft.Model], name: str, options: dict) -> None:
    model, limit = models[name], 2 if "coverage_penalty" in options else 9  # more would look at everything
    generated = model.generate(INPUTS, max_new_tokens=limit, **options)
    targets = [[*result.tokens, *([2] if result.finished else [])] for result in generated]
    scored = model.score(INPUTS, targets, end=False, max_new_tokens=limit, **options)
    for one, result in zip(scored, generated, strict=True):
        assert (one.tokens, one.text, one.finished) == (result.tokens, result.text, result.finished)
        np.testing.assert_allclose(one.logprobs, result.logprobs, atol=1e-4)
        assert one.score == pytest.approx(result.score, abs=1e-3)
        assert [[token for token, _ in top] for top in one.top_logprobs] == [[t for t, _ in top] for top in result.top_logprobs]
        for top, other in zip(one.top_logprobs, result.top_logprobs, strict=True):
            np.testing.assert_allclose([p for _, p in top], [p for _, p in other], atol=1e-4)
    if "coverage_penalty" in options:
        plain = model.score(INPUTS, targets, end=False, max_new_tokens=limit, **options | {"coverage_penalty": 0.0})
        assert any(one.score < other.score - 0.01 for one, other in zip(scored, plain, strict=True))
    for index, (given, target) in enumerate(zip(INPUTS, targets, strict=True)):
        alone = model.score([given], [target], end=False, max_new_tokens=limit, **options)[0]
        np.testing.assert_allclose(alone.logprobs, scored[index].logprobs, atol=1e-5)
        assert alone.score == pytest.approx(scored[index].score, abs=1e-4)


def test_by_hand(models: dict[str, weft.Model]) -> None:
    model = models["bart"]
    (found,) = model.score([[7, 8]], [[9, 10, 11]], length_penalty=0.0)
    logits = model.logits([[7, 8, 2]], [[2, 9, 10, 11]])[0].astype(np.float64)
    expected = (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(4), [9, 10, 11, 2]]
    np.testing.assert_allclose(found.logprobs, expected, atol=1e-5)
    assert found.score == pytest.approx(expected.sum(), abs=1e-4) and found.tokens == (9, 10, 11) and found.finished
    assert len(model.score([[7, 8]], [[9, 10, 11]], end=False)[0].logprobs) == 3
    assert model.score([[7, 8]], [[9, 10]], banned=(10,))[0].logprobs[1] == -np.inf


def test_texts(models: dict[str, weft.Model]) -> None:
    model = models["bart"]
    assert model.score("w1 w2", "w3") == model.score(["w1 w2"], ["w3"])[0]
    assert model.score("w1 w2", "w3").text == "w3"
    completer = models["llama"]
    whole, parts = completer.score("w1 w2 w3 w4"), completer.score("w1 w2", " w3 w4")
    assert len(whole.logprobs) == 4 and whole.logprobs[-3:] == pytest.approx(parts.logprobs, abs=1e-5)
    assert completer.score(["w1 w2"]) == [completer.score("w1 w2")]
    with pytest.raises(UsageError, match=r"this model is encoder-decoder: call score\(sources, targets\)"):
        model.score(["w1"])
    with pytest.raises(UsageError, match="2 inputs and 1 targets"):
        model.score(["w1", "w2"], ["w3"])
    with pytest.raises(WindowError, match="target 1 has 51 tokens after 1 that the decoder begins with"):
        model.score([[5]], [[5] * 50])
    with pytest.raises(UsageError, match="holds token id 999; ids run from 0 to"):
        model.score([[5]], [[999]])


def test_log_probabilities_of_a_prompt(models: dict[str, weft.Model]) -> None:
    model = models["gpt2"]
    results = model.generate(INPUTS, max_new_tokens=3, prompt_logprobs=True, banned=(9, 12))
    for prompt, result in zip(INPUTS, results, strict=True):
        logits = model.logits([prompt])[0].astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(result.prompt_logprobs, log_probs[np.arange(len(prompt) - 1), prompt[1:]], atol=1e-5)
    assert model.generate(INPUTS, max_new_tokens=3)[0].prompt_logprobs == ()
    assert len(model.generate(INPUTS[:1], max_new_tokens=0, prompt_logprobs=True)[0].prompt_logprobs) == 2
    with pytest.raises(UsageError, match=r"encoder-decoder: it has none.*model.score\(sources, targets\)"):
        models["bart"].generate(INPUTS, prompt_logprobs=True)


def test_what_a_guide_forbids_has_no_probability(models: dict[str, weft.Model]) -> None:
    model = models["bart"]
    inside, outside = model.score(["w1", "w1"], ["w3 w4", "w3 w5"], regex="w3 w4")
    assert np.isfinite(inside.logprobs).all() and np.isfinite(outside.logprobs).tolist() == [True, False, False]
    assert model.score("w1", "w3 w4").logprobs != inside.logprobs


def test_what_scores_of_given_outputs_cannot_tell(models: dict[str, weft.Model]) -> None:
    with pytest.raises(UsageError, match=r"diversity=0.5 takes from a hypothesis what others have chosen, and scoring"):
        models["bart"].score("w1", "w2", beams=4, beam_groups=2, diversity=0.5)
    with pytest.raises(UsageError, match=r"score the prompt itself instead: model.score\(prompt\)"):
        models["gpt2"].score("w1", " w2", prompt_logprobs=True)
    assert models["bart"].score([], [], beams=2, coverage_penalty=1.0) == []
    assert models["bart"].score([[5]], [[]], end=False, beams=2, coverage_penalty=1.0)[0].score == 0.0
    with pytest.raises(UsageError, match=r"coverage_penalty=1.0 goes by what a decoder attends to in a source"):
        models["gpt2"].score("w1", " w2", beams=2, coverage_penalty=1.0)
    diverse = models["bart"].speaking_through(models["bart"].runner, models["bart"].config.window)
    diverse.defaults = models["bart"].options(beams=4, beam_groups=2, diversity=0.5)
    assert diverse.score("w1", "w2") == models["bart"].score("w1", "w2", beams=4)
