"""Decoding on the native engine: PyTorch's tokens for every strategy; a row alone is what it is in company, bit for bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.backends.both import close, native, reference, rows
from tests.decode.test_neighbours import STRATEGIES
from tests.isas import machine_isas
from tests.variants import DECODERS, ENCODER_DECODERS, ENCODERS, TRANSFORMERS, change
from weft.backends.native import NativeRunner
from weft.decode import generate_batch
from weft.decode.score import score
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis

MORE: dict[str, dict[str, Any]] = {
    "coverage": {"beams": 3, "coverage_penalty": 0.4},
    "lookup": {"lookup": 4},
    "lookup_sampling": {"lookup": 4, "sample": True, "temperature": 0.7, "seed": 5},
    "draws": {"sample": True, "n": 3, "best_of": 4, "seed": 2},
    "n_best_logprobs": {"beams": 4, "n_best": 3, "logprobs": 5},
    "prefix": {"beams": 2, "prefix": (9, 8), "forced_last": 3, "min_new_tokens": 4},
    "guided": {"beams": 2, "banned": (5, 6), "banned_words": ((9, 10),), "logit_bias": ((12, 3.0),)},
}
STRATEGIES = STRATEGIES | MORE
KINDS = {"encoder-decoder": ENCODER_DECODERS["untied"], "t5": ENCODER_DECODERS["relative_bias"],
         "decoder-only": DECODERS["parallel_gated"], "gemma": DECODERS["local_and_global"],
         "dynamic": DECODERS["dynamic"], "longrope": DECODERS["longrope"]}
SEEDS = list(range(6))
PRECISIONS = ("fp32", "bf16", "int8")


def texts() -> list[list[int]]:
    return rows((7, 1, 12, 4, 20, 3), seed=8)


def answers(config: c.ModelConfig, runner: Any, given: list[list[int]], seeds: list[int], **options: Any
            ) -> list[tuple[Hypothesis, ...]]:
    chosen = GenerationOptions(**{"max_new_tokens": 12} | options)
    place = {"sources": None, "prompts": given} if config.encoder is None else {"sources": given}
    return generate_batch(runner, **place, options=chosen, seeds=seeds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_tokens_as_torch(kind: str, strategy: str) -> None:
    config, options = KINDS[kind], STRATEGIES[strategy]
    if strategy == "coverage" and config.encoder is None:
        pytest.skip("there is no source to cover")
    pairs = [answers(config, runner, texts(), SEEDS, **options) for runner in (native(config), reference(config))]
    for ours, theirs in zip(*pairs, strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]
        close([one.score for one in ours], [one.score for one in theirs])
        close([p for one in ours for p in one.log_probs], [p for one in theirs for p in one.log_probs])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_answers_alone_as_in_company(kind: str, precision: str, strategy: str) -> None:
    """The same numbers, not nearly the same."""
    config, options = KINDS[kind], STRATEGIES[strategy]
    if strategy == "coverage" and config.encoder is None:
        pytest.skip("there is no source to cover")
    runner, given = native(config, precision), texts()
    alone = [answers(config, runner, [row], [seed], **options)[0] for row, seed in zip(given, SEEDS, strict=True)]
    assert answers(config, runner, given, SEEDS, **options) == alone
    assert answers(config, runner, given[::-1], SEEDS[::-1], **options) == alone[::-1]


@pytest.mark.parametrize("isa", machine_isas())
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_numbers_alone_as_in_company(monkeypatch: pytest.MonkeyPatch, isa: str, precision: str, name: str) -> None:
    monkeypatch.setenv("WEFT_ISA", isa)
    config, given = TRANSFORMERS[name], texts()
    runner = native(config, precision)
    if config.kind == "encoder-decoder":
        targets = rows((5, 9, 1, 3, 16, 4), seed=9)
        together = runner.logits(given, targets)
        for index, (source, target) in enumerate(zip(given, targets, strict=True)):
            np.testing.assert_array_equal(together[index, : len(target)], runner.logits([source], [target])[0])
        return
    together = runner.score_all(given)
    for row, found in zip(given, together, strict=True):
        np.testing.assert_array_equal(found, runner.score([row])[0])


@pytest.fixture(scope="module", name="wide")
def _wide() -> c.ModelConfig:
    """So large that every operation is shared among threads, with a vocabulary of several chunks."""
    config = change(KINDS["encoder-decoder"], attention=c.Attention(4, 2, 40), feed_forward=c.FeedForward(700, "gelu"))
    return replace(config, width=200, vocabulary=1300, window=c.Window(64, 64))


@pytest.mark.parametrize("isa", machine_isas())
@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, wide: c.ModelConfig, isa: str, precision: str) -> None:
    monkeypatch.setenv("WEFT_ISA", isa)
    given, targets = rows((30, 1, 17, 64), vocabulary=1300), rows((20, 33, 2, 40), seed=1, vocabulary=1300)
    one = native(wide, precision, threads=1)
    want = one.logits(given, targets), answers(wide, one, given, [0] * 4, beams=4)
    for threads in (2, 3, 7):
        runner = native(wide, precision, threads)
        np.testing.assert_array_equal(runner.logits(given, targets), want[0])
        assert answers(wide, runner, given, [0] * 4, beams=4) == want[1]


@pytest.mark.parametrize("isa", machine_isas())
def test_a_wide_model_is_torchs_too(monkeypatch: pytest.MonkeyPatch, wide: c.ModelConfig, isa: str) -> None:
    monkeypatch.setenv("WEFT_ISA", isa)
    given, targets = rows((30, 1, 17, 64), vocabulary=1300), rows((20, 33, 2, 40), seed=1, vocabulary=1300)
    ours, theirs = native(wide, threads=2), reference(wide)
    for mine, want, target in zip(ours.logits(given, targets), theirs.logits(given, targets), targets, strict=True):
        close(mine[: len(target)], want[: len(target)])


TOLERANCE = {"bf16": 0.025, "int8": 0.06}
"""Of the deviation of the logits: what weights, activations and keys in 8 and 7 bits leave of a few random layers."""


@pytest.mark.parametrize("isa", machine_isas())
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_narrow_weights_are_near(monkeypatch: pytest.MonkeyPatch, isa: str, precision: str, name: str) -> None:
    monkeypatch.setenv("WEFT_ISA", isa)
    config = TRANSFORMERS[name]
    exact, narrow = (measured(config, native(config, kind)) for kind in ("fp32", precision))
    error = np.sqrt(np.mean((narrow - exact) ** 2)) / max(float(exact.std()), 1e-3)
    assert 0 < error < TOLERANCE[precision]


def measured(config: c.ModelConfig, runner: NativeRunner) -> np.ndarray:
    given = texts()
    if config.kind != "encoder-decoder":
        return np.concatenate([np.ravel(found) for found in runner.score_all(given)])
    return np.concatenate([np.ravel(runner.logits([row], [row])) for row in given])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_of_given_outputs_are_those_of_generating(kind: str, precision: str) -> None:
    config = KINDS[kind]
    if c.turns_by_length(config.decoder):
        pytest.skip("what is cached keeps the angles of shorter texts")
    runner = native(config, precision)
    found = [one for (one,) in answers(config, runner, texts(), SEEDS)]
    place = {"sources": None, "prompts": texts()} if config.encoder is None else {"sources": texts()}
    scores = score(runner, targets=[one.tokens for one in found], options=GenerationOptions(), **place)
    for want, given in zip(found, scores, strict=True):
        close(given.log_probs, want.log_probs)


@pytest.mark.parametrize("kind", KINDS)
def test_many_texts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    config, runner, given = KINDS[kind], native(KINDS[kind]), texts()
    whole = answers(config, runner, given, SEEDS, beams=2), read(config, runner, given)
    monkeypatch.setattr("weft.backends.native.MOST", 9)
    monkeypatch.setattr("weft.backends.native.NUMBERS", 100)
    assert answers(config, runner, given, SEEDS, beams=2) == whole[0]
    for mine, want in zip(read(config, runner, given), whole[1], strict=True):
        np.testing.assert_array_equal(mine, want)


def read(config: c.ModelConfig, runner: NativeRunner, given: list[list[int]]) -> list[np.ndarray]:
    return runner.log_probs(given) if config.encoder is None else [runner.logits(given, given)]


def test_a_copy_decodes_beside_its_original() -> None:
    config, given = KINDS["encoder-decoder"], texts()
    runner = native(config)
    alone = answers(config, runner, given, SEEDS)
    runner.start(runner.encode(given), 1)
    first = runner.step(np.full(len(given), 2))
    assert answers(config, copy.copy(runner), given[::-1], SEEDS) == alone[::-1]
    runner.drop(1)
    np.testing.assert_array_equal(runner.step(np.full(len(given), 2)), first)


def test_a_source_that_is_encoded_once_serves_many_starts() -> None:
    config, given = KINDS["t5"], texts()
    runner = native(config)
    memory = runner.encode(given)
    found = []
    for copies in (1, 3, 1):
        runner.start(memory, copies)
        found.append(runner.step(np.full(len(given) * copies, 2)))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1][::3], found[0])


def test_memories_outlive_their_runner() -> None:
    config, given = KINDS["t5"], texts()
    first, second = native(config), native(config)
    memory = first.encode(given)
    want = answers(config, first, given, SEEDS)
    del first
    second.start(memory, 1)
    np.testing.assert_allclose(second.step(np.full(len(given), 2), best=1).tokens[:, 0], [one[0].tokens[0] for one in want])


@pytest.mark.parametrize("name", ENCODERS)
def test_no_texts_and_texts_of_one_token(name: str) -> None:
    runner = native(ENCODERS[name])
    assert runner.score_all([]) == []
    one, two = runner.score([[5]]), runner.score([[5], [5]])
    np.testing.assert_array_equal(one[0], two[1])
