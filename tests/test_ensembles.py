"""Several models as one, against the mixture made by hand of their logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weft
from tests import bundles
from weft.errors import UsageError

SOURCES = [[7, 8, 9], [5], [10, 11, 12, 13, 14]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoder-decoders with other start tokens, and decoder-only models, of one tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("t5", "bart", "gpt2", "llama"):
        bundles.bundle(folder / name, name)
    return folder


def load(folder: Path, *names: str) -> list[weft.Model]:
    return [weft.load(folder / name) for name in names]


OPTIONS = [{}, {"beams": 3, "n_best": 2}, {"sample": True, "seed": 5}, {"penalty_alpha": 0.6, "top_k": 4}, {"lookup": 4}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["t5", "llama"])
def test_members_on_either_backend(folder: Path, name: str, options: dict) -> None:
    """The engine and PyTorch say the same, together as alone."""
    native, torch = (weft.load(folder / name, backend=backend, precision="fp32") for backend in ("native", "torch"))
    assert (native.backend, torch.backend) == ("native", "torch")
    found = [one.generate(SOURCES, max_new_tokens=9, **options) for one in (weft.ensemble([native, torch]), native, torch)]
    assert len({tuple(result.tokens for result in results) for results in found}) == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("mean", ["probabilities", "log_probabilities"])
@pytest.mark.parametrize("name", ["t5", "llama"])
def test_a_model_with_itself_is_the_model(folder: Path, name: str, mean: str, options: dict) -> None:
    (model,) = load(folder, name)
    both = weft.ensemble([model, model], weights=[3, 1], mean=mean)
    for alone, together in zip(*(one.generate(SOURCES, max_new_tokens=9, **options) for one in (model, both)), strict=True):
        assert alone.tokens == together.tokens
        np.testing.assert_allclose(alone.logprobs, together.logprobs, atol=1e-4)
    np.testing.assert_allclose(*(one.score([[5, 6]], [[7, 8]])[0].logprobs for one in (model, both)), atol=1e-4)


def greedy_by_hand(say: object, start: int, eos: int, source: list[int], limit: int) -> list[int]:
    """say: (source ids, target ids) -> log-probabilities [V] of the next token."""
    tokens: list[int] = []
    while len(tokens) < limit:
        tokens.append(int(say(source, tokens).argmax()))  # type: ignore[operator]
        if tokens[-1] == eos:
            break
    return tokens


@pytest.mark.parametrize("mean", ["probabilities", "log_probabilities"])
def test_the_mean_is_that_of_the_members_logits(folder: Path, mean: str) -> None:
    models, weights = load(folder, "t5", "bart"), (0.98, 0.02)  # the second is the surer
    assert models[0].config.special.start != models[1].config.special.start
    both = weft.ensemble(models, weights=[49, 1], mean=mean)

    def say(source: list[int], tokens: list[int]) -> np.ndarray:
        each = [log_softmax(model.logits([[*source, 2]], [[model.config.special.start, *tokens]])[0, -1]) for model in models]
        if mean == "probabilities":
            return np.log(sum(w * np.exp(one) for w, one in zip(weights, each, strict=True)))
        return log_softmax(sum(w * one for w, one in zip(weights, each, strict=True)))

    for source, result in zip(SOURCES, both.generate(SOURCES, max_new_tokens=8), strict=True):
        expected = greedy_by_hand(say, 0, 2, source, 8)
        assert list(result.tokens) == [token for token in expected if token != 2]
        np.testing.assert_allclose(result.logprobs, [say(source, expected[:at])[token] for at, token in enumerate(expected)],
                                   atol=1e-4)
        scored = both.score([source], [expected], end=False)[0]
        np.testing.assert_allclose(scored.logprobs, result.logprobs, atol=1e-4)
    assert [one.tokens for one in both.generate(SOURCES, max_new_tokens=8)] != [
        one.tokens for one in models[1].generate(SOURCES, max_new_tokens=8)]


def test_logits_of_an_ensemble_are_log_probabilities(folder: Path) -> None:
    models = load(folder, "gpt2", "llama")
    mixed = weft.ensemble(models).logits([[5, 6, 7], [8, 9, 10]])
    by_hand = np.log(np.mean([np.exp(log_softmax(model.logits([[5, 6, 7], [8, 9, 10]]))) for model in models], 0))
    np.testing.assert_allclose(mixed, by_hand, atol=1e-4)


@pytest.mark.parametrize("name", ["t5", "gpt2"])
def test_fusion_adds_the_language_model(folder: Path, name: str) -> None:
    model, lm = load(folder, name, "llama")
    fused = weft.ensemble(model, fusion=(lm, 0.5))

    def say(source: list[int], tokens: list[int]) -> np.ndarray:
        if name == "t5":
            own, other = model.logits([[*source, 2]], [[0, *tokens]]), lm.logits([[lm.config.special.start, *tokens]])
        else:
            own, other = model.logits([[*source, *tokens]]), lm.logits([[*source, *tokens]])
        return log_softmax(log_softmax(own[0, -1]) + 0.5 * log_softmax(other[0, -1]))

    for source, result in zip(SOURCES, fused.generate(SOURCES, max_new_tokens=8), strict=True):
        expected = greedy_by_hand(say, 0, 2, source, 8)
        assert list(result.tokens) == [token for token in expected if token != 2]
        np.testing.assert_allclose(result.logprobs, [say(source, expected[:at])[token] for at, token in enumerate(expected)],
                                   atol=1e-4)
    plain = weft.ensemble(model, fusion=(lm, 0.0)).generate(SOURCES, max_new_tokens=8, beams=3)
    assert [one.tokens for one in plain] == [one.tokens for one in model.generate(SOURCES, max_new_tokens=8, beams=3)]


def test_a_row_does_not_depend_on_its_neighbours(folder: Path) -> None:
    both = weft.ensemble([folder / "t5", folder / "bart"], fusion=(folder / "gpt2", 0.3))
    for options in OPTIONS:
        together = both.generate(SOURCES, max_new_tokens=8, **options)
        for index, source in enumerate(SOURCES):
            (alone,) = both.generate([source], max_new_tokens=8, first=index, **options)
            assert alone.tokens == together[index].tokens


def test_members_keep_their_own_state(folder: Path) -> None:
    """A member in the middle of a stream, and an ensemble of ensembles."""
    (model,) = load(folder, "llama")
    plain = [event.token for event in model.stream([5, 6], max_new_tokens=6) if hasattr(event, "token")]
    streamed = []
    for event in model.stream([5, 6], max_new_tokens=6):
        if hasattr(event, "token"):
            streamed.append(event.token)
        weft.ensemble([model, model]).generate([[9]], max_new_tokens=2)
    assert streamed == plain
    both = weft.ensemble([model])
    assert weft.ensemble([both, both]).generate([[5, 6]], max_new_tokens=6)[0].tokens == tuple(plain)


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    model, lm = load(folder, "t5", "gpt2")
    other = weft.load(bundles.bundle(tmp_path / "other", "t5", around=True))
    for arguments in ({"models": [model, other]}, {"models": model, "fusion": (other, 0.3)}):
        with pytest.raises(UsageError) as error:
            weft.ensemble(**arguments)
        assert model.config.tokenizer in str(error.value) and other.config.tokenizer in str(error.value)
    for arguments, message in (
            ({"models": []}, "an ensemble of no models"), ({"models": [model, lm]}, "members must be of one kind"),
            ({"models": [model], "weights": [1, 2]}, "2 weights for 1 models; give one for each"),
            ({"models": [model], "weights": [0]}, "each of the weights is 0; it must be above 0 .* nearest is just above 0"),
            ({"models": model, "weights": [float("nan")]}, "each of the weights is nan"),
            ({"models": model, "weights": ["x"]}, "each of the weights is 'x'; it must be a number"),
            ({"models": model, "weights": 1}, "weights is 1; it must be a list of numbers"),
            ({"models": model, "fusion": lm}, "it must be a pair: a language model and its weight"),
            ({"models": model, "mean": "sum"}, "mean is 'sum'; it must be 'probabilities' or 'log_probabilities'"),
            ({"models": model, "fusion": (model, 0.3)}, "fusion takes a decoder-only one"),
            ({"models": model, "fusion": (lm, float("inf"))}, "the weight of the language model is inf")):
        with pytest.raises(UsageError, match=message):
            weft.ensemble(**arguments)
