"""Whatever the Python API of decoding is given, it answers or raises an error of Weft's, never one of Python's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import weft
from tests import bundles
from weft.errors import WeftError
from weft.spec.decoding import GenerationOptions


def huge(sign: int) -> int:
    """More digits than Python writes."""
    return sign * 10**5000


NUMBERS = st.one_of(
    st.integers(-3, 12), st.builds(huge, st.sampled_from([1, -1])), st.floats(-2, 4),
    st.sampled_from([2**63, 10**400, True, False, float("nan"), float("inf"), float("-inf"), 1e-300, 1e300]))
SCALARS = st.one_of(NUMBERS, st.none(), st.sampled_from([
    "", " ", "w5", "w5 w6", "a", "\ud800", "1", "0.5", "</s>", "(", "left", b"", b"w5", np.float32(0.5), np.int64(3),
    np.float64("nan"), np.bool_(True), 1j, object()]))
ARRAYS = st.sampled_from([np.zeros(0), np.array(3), np.array([5, 6]), np.array([[5], [6]]), np.array([0.5]), np.array(["a"]),
                          np.array([[5, 6], [7, 8]], np.uint8), np.array([None]), np.array([np.nan])])
ANYTHING = st.recursive(SCALARS | ARRAYS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.sampled_from(["w5", "a", "type", "regex"]), inner,
                                                                         max_size=2),
    st.frozensets(st.integers(0, 9), max_size=2), st.builds(iter, st.lists(inner, max_size=2))), max_leaves=4)
IDS = st.lists(st.integers(5, 30), min_size=1, max_size=8)
INPUT = st.sampled_from(["w5 w6", "w7", "", " ", "zzz"]) | IDS
TEXTS = st.lists(INPUT, max_size=3) | INPUT
PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "beams": st.integers(1, 4), "n_best": st.integers(1, 4), "sample": st.booleans(), "temperature": st.floats(0, 3),
    "top_k": st.integers(0, 9), "penalty_alpha": st.floats(0, 1), "max_new_tokens": st.integers(0, 45),
    "min_new_tokens": st.integers(0, 45), "eos": st.lists(st.integers(0, 40), max_size=3),
    "stop": st.lists(st.just("w6"), max_size=2), "banned": st.lists(st.integers(-1, 60), max_size=40),
    "logit_bias": st.dictionaries(st.integers(0, 40), NUMBERS, max_size=2),
    "prefix": IDS, "suffix": IDS, "forced_words": st.lists(IDS, max_size=2), "banned_words": st.lists(IDS, max_size=2),
    "forced_first": st.integers(0, 40), "forced_last": st.integers(0, 40), "lookup": st.integers(0, 4),
    "beam_groups": st.integers(1, 4), "diversity": st.floats(0, 2), "coverage_penalty": st.floats(0, 2),
    "no_repeat_ngram": st.integers(0, 2), "n": st.integers(1, 3), "mbr": st.integers(0, 4), "logprobs": st.integers(0, 99),
    "regex": st.sampled_from(["w5( w6)*", "[a-z]+", "("]), "json_schema": st.sampled_from(['{"type": "integer"}', "{}", "[]"]),
    "order": st.lists(st.sampled_from(["top_p", "temperature", "prefix", "nothing"]), max_size=2)}
OPTIONS = {option.name: st.one_of(PLAUSIBLE.get(option.name, NUMBERS), ANYTHING) for option in fields(GenerationOptions)}
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, weft.Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: weft.load(bundles.bundle(folder / name, name)) for name in ("bart", "gpt2")}


def some_options() -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.sampled_from(sorted(OPTIONS)), max_size=4, unique=True).flatmap(
        lambda found: st.fixed_dictionaries({name: OPTIONS[name] for name in found}))


def attempt(call: Any, *arguments: Any, **more: Any) -> Any:
    """Its answer; None where it refuses in words."""
    try:
        return call(*arguments, **more)
    except WeftError as error:
        assert str(error) and len(str(error)) < 2000
        return None


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_any_value_of_each_option(models: dict[str, weft.Model], name: str) -> None:
    @settings(SOME, max_examples=25)
    @given(ANYTHING | NUMBERS)
    def run(value: Any) -> None:
        attempt(models["bart"].generate, [[5, 6]], **{"max_new_tokens": 3, "beams": 1, name: value})
        attempt(GenerationOptions, **{name: value})
    run()


@pytest.mark.parametrize("name", ["bart", "gpt2"])
@pytest.mark.parametrize("verb", ["translate", "complete", "generate", "stream", "trace", "score"])
def test_any_options_together(models: dict[str, weft.Model], name: str, verb: str) -> None:
    model = models[name]

    @SOME
    @given(TEXTS, some_options())
    @example(["w5"], {"banned_words": {}})
    @example(["w5"], {"json_schema": "{}", "max_new_tokens": 0})
    def run(texts: Any, options: dict[str, Any]) -> None:
        if verb == "stream":
            attempt(lambda: list(model.stream(texts, **options)))
        elif verb == "score":
            attempt(model.score, texts, texts, **options)
        else:
            attempt(getattr(model, verb), texts, **options)
    run()


@pytest.mark.parametrize("name", ["bart", "gpt2"])
def test_any_input_and_argument(models: dict[str, weft.Model], name: str) -> None:
    model = models[name]

    @settings(SOME, max_examples=150)
    @given(st.sampled_from(["generate", "translate", "complete", "stream", "trace", "score", "options", "logits"]), ANYTHING,
           st.dictionaries(st.sampled_from(["seeds", "first", "too_long", "truncate", "draft", "candidates", "layers", "heads",
                                            "preset", "draft_tokens", "targets", "end", "seed"]), ANYTHING, max_size=2))
    @example("translate", None, {})
    @example("trace", "w5", {"heads": [0.5]})
    @example("trace", "w5", {"layers": 3})
    @example("generate", ["w5"], {"seeds": [1, 2]})
    def run(verb: str, given_input: Any, more: dict[str, Any]) -> None:
        known = {"score": {"targets", "end"}, "trace": {"candidates", "layers", "heads"}, "options": {"preset", "seed"}}
        own = known.get(verb, set()) | {"seeds", "first", "too_long", "truncate", "draft", "preset", "draft_tokens", "seed"}
        chosen = {key: value for key, value in more.items() if key in own and verb != "logits"}
        for value in (given_input, "w5 w6"):
            if verb == "options":
                attempt(model.options, **chosen)
            elif verb == "stream":
                attempt(lambda value=value: list(model.stream(value, **chosen)))
            else:
                attempt(getattr(model, verb), value, **({"max_new_tokens": 2} if verb != "logits" else {}), **chosen)
    run()


def test_any_ensemble(models: dict[str, weft.Model]) -> None:
    model, other = models["bart"], models["gpt2"]

    @settings(SOME, max_examples=100)
    @given(st.lists(st.sampled_from([model, other]), max_size=3) | ANYTHING, st.dictionaries(
        st.sampled_from(["weights", "mean", "fusion", "precision"]), ANYTHING, max_size=2))
    @example([model, model], {"weights": ["x", 1]})
    @example([model], {"fusion": (other, "x")})
    @example([model], {"fusion": other})
    def run(given_models: Any, more: dict[str, Any]) -> None:
        attempt(weft.ensemble, given_models, **more)
    run()


@given(ANYTHING)
@settings(SOME, max_examples=60)
def test_any_model_name(name: Any) -> None:
    attempt(weft.load, name)
    attempt(weft.load, "fr-en", precision=name)
