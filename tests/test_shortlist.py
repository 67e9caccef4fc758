"""Translating within a shortlist: on both backends what masking the whole vocabulary gives, and nobody's neighbours count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from tests.bundles import bundle
from weft.bundle import add_shortlist, open_bundle
from weft.errors import BundleError, UsageError
from weft.model import Model
from weft.text.shortlist import Shortlist

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10", "w2 w2 w11", "w30 w31"]
SEARCHES: list[dict[str, Any]] = [{}, {"beams": 3, "n_best": 3}, {"beams": 4, "min_new_tokens": 3}, {"lookup": 3},
                                  {"sample": True, "seed": 3}, {"no_repeat_ngram": 2}, {"banned": (9, 10, 14)}]


@pytest.fixture(scope="module", name="path", params=["marian", "t5"])
def _path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = bundle(tmp_path_factory.mktemp("bundle") / "b", request.param)
    opened = open_bundle(path)
    rng, rows = np.random.default_rng(1), opened.config.vocabulary
    ids = np.concatenate([rng.permutation(rows)[:4] for _ in range(rows)]).astype(np.int32)
    add_shortlist(opened, Shortlist(np.array([7, 20], np.int32), np.arange(0, 4 * rows + 1, 4, dtype=np.int32), ids))
    return path


def opened(path: Path, backend: str = "native", precision: str = "fp32") -> Model:
    return weft.load(path, backend=backend, precision=precision)


def allowed(model: Model, text: str) -> list[int]:
    eos = model.config.special.eos
    return sorted({*model.bundle.shortlist().of(model._source(text)).tolist(), eos})


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_backends_agree_and_stay_within(path: Path, options: dict[str, Any]) -> None:
    model = opened(path)
    ours = model.generate(TEXTS, shortlist=True, max_new_tokens=8, **options)
    theirs = opened(path, "torch").generate(TEXTS, shortlist=True, max_new_tokens=8, **options)
    for text, one, other in zip(TEXTS, ours, theirs, strict=True):
        assert set(one.tokens) <= set(allowed(model, text))
        for mine, its in zip(one.alternatives or (one,), other.alternatives or (other,), strict=True):
            assert mine.tokens == its.tokens
            np.testing.assert_allclose(mine.logprobs, its.logprobs, atol=2e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_neighbours_do_not_count(path: Path, precision: str) -> None:
    model = opened(path, precision=precision)
    for options in SEARCHES[:4]:
        together = model.generate(TEXTS, shortlist=True, max_new_tokens=8, **options)
        assert [model.generate([text], shortlist=True, max_new_tokens=8, **options)[0] for text in TEXTS] == together


def test_log_probabilities_are_of_the_list(path: Path) -> None:
    """Against the whole vocabulary's logits, masked and normalised here."""
    model = opened(path)
    for text in TEXTS:
        (found,) = model.generate([text], shortlist=True, max_new_tokens=6)
        source = model._source(text)
        given = [model.config.special.start, *found.tokens]
        logits = model.logits([source], [given])[0].astype(np.float64)
        own = allowed(model, text)
        ended = [*found.tokens, model.config.special.eos][: len(found.logprobs)]
        for row, token, log_prob in zip(logits, ended, found.logprobs, strict=False):
            assert token == own[int(row[own].argmax())]
            assert log_prob == pytest.approx(row[token] - np.log(np.exp(row[own]).sum()), abs=1e-4)
        again = model.score([text], [list(found.tokens)], shortlist=True, end=len(found.logprobs) > len(found.tokens))[0]
        np.testing.assert_allclose(again.logprobs, found.logprobs, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_list_of_everything_changes_nothing(path: Path, tmp_path: Path, precision: str) -> None:
    shutil.copytree(path, tmp_path / "b")
    made = open_bundle(tmp_path / "b")
    rows = made.config.vocabulary
    add_shortlist(made, Shortlist(np.arange(rows, dtype=np.int32), np.zeros(rows + 1, np.int32), np.zeros(0, np.int32)))
    model = opened(tmp_path / "b", precision=precision)
    for options in SEARCHES:
        plain = model.generate(TEXTS, max_new_tokens=8, **options)
        for one, other in zip(model.generate(TEXTS, max_new_tokens=8, shortlist=True, **options), plain, strict=True):
            assert one.tokens == other.tokens
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_more_beams_than_words(path: Path, tmp_path: Path) -> None:
    """A list shorter than what a beam asks for."""
    shutil.copytree(path, tmp_path / "b")
    made = open_bundle(tmp_path / "b")
    rows = made.config.vocabulary
    add_shortlist(made, Shortlist(np.array([7], np.int32), np.zeros(rows + 1, np.int32), np.zeros(0, np.int32)))
    found = [opened(tmp_path / "b", backend).generate(TEXTS, beams=5, n_best=5, max_new_tokens=3, shortlist=True)
             for backend in ("native", "torch")]
    assert [[other.tokens for other in one.alternatives or (one,)] for one in found[0]] == [
        [other.tokens for other in one.alternatives or (one,)] for one in found[1]]


def test_what_options_name_is_in_every_list(path: Path) -> None:
    model = opened(path)
    rare = next(token for token in range(5, model.config.vocabulary) if token not in allowed(model, "w4"))
    (found,) = model.generate(["w4"], shortlist=True, prefix=(rare,), max_new_tokens=4)
    assert found.tokens[0] == rare


def test_streams_and_traces(path: Path) -> None:
    model = opened(path)
    (plain,) = model.generate(["w1 w2"], shortlist=True, max_new_tokens=5)
    tokens = [event.token for event in model.stream("w1 w2", shortlist=True, max_new_tokens=5) if hasattr(event, "token")]
    assert tuple(tokens[: len(plain.tokens)]) == plain.tokens
    trace = model.trace("w1 w2", shortlist=True, max_new_tokens=5)
    assert trace.requests[0].results[0].tokens[: len(plain.tokens)] == plain.tokens


def test_without_a_list_it_is_refused(tmp_path: Path) -> None:
    model = weft.load(bundle(tmp_path / "b", "marian"))
    with pytest.raises(UsageError, match=r"has no shortlist to choose among; learn one .*weft shortlist"):
        model.translate("w1", shortlist=True)
    with pytest.raises(BundleError, match="cannot be read"):
        model.bundle.shortlist()
    with pytest.raises(UsageError, match="shortlist and regex contradict each other"):
        model.translate("w1", shortlist=True, regex="a+")


def test_the_verb(weft_command: Callable[..., Any], tmp_path: Path) -> None:
    path, data = bundle(tmp_path / "b", "marian"), tmp_path / "pairs.tsv"
    data.write_text("".join(f"w{i} w{i + 1}\tw{i + 20} w{i + 21}\n" for i in range(15)))
    status, out, _ = weft_command("shortlist", path, "--data", data, "--frequent", 3, "--per-token", 2)
    assert status == 0 and "learned of 15 of 15 pairs" in out
    status, out, err = weft_command("translate", "--model", path, "--shortlist", "w3 w4")
    assert status == 0, err
    (path / "shortlist.safetensors").write_bytes(b"x")
    status, _, err = weft_command("translate", "--model", path, "w3")
    assert status == 2 and "shortlist.safetensors has 1 bytes" in err
    status, _, err = weft_command("shortlist", bundle(tmp_path / "c", "gpt2"), "--data", data)
    assert status == 2 and "does not translate" in err
    status, _, err = weft_command("shortlist", path, "--data", data, "--frequent", 0)
    assert status == 2


@pytest.fixture(name="weft_command")
def _weft_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    from weft.cli import run

    def call(*arguments: object) -> tuple[int, str, str]:
        return run([str(argument) for argument in arguments]), *capsys.readouterr()
    return call
