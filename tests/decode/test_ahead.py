"""Speculative decoding gives what plain decoding gives: the same tokens, or the same distribution."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests import bundles
from tests.decode.fake import FakeRunner
from weft.backends.torch import TorchRunner
from weft.bundle import open_bundle
from weft.decode import generate, generate_batch
from weft.decode.chain import log_softmax
from weft.decode.guess import Lookup, Pace
from weft.decode.rows import Request
from weft.errors import UsageError
from weft.model import Model, load
from weft.spec.decoding import GenerationOptions
from weft.spec.events import TokenEvent

SOURCES = [[5], [4, 6, 7, 3], [7, 7, 3], [5, 4, 6, 7, 8, 9, 4, 6, 3]]


class Forgetful(FakeRunner):
    """What it says depends on the last token only, so that its greedy output goes round in circles."""

    @cache  # noqa: B019
    def logits(self, source: tuple, prefix: tuple[int, ...]) -> np.ndarray:
        return super().logits((), prefix[-1:])


class Cached(FakeRunner):
    @cache  # noqa: B019
    def logits(self, source: tuple, prefix: tuple[int, ...]) -> np.ndarray:
        return super().logits(source, prefix)


def no_token_thrice(logits: np.ndarray, rows: Any) -> np.ndarray:
    """A rule that depends on where a row stands."""
    logits = logits.copy()
    for row, tokens in enumerate(rows.tokens):
        counts = np.bincount(tokens, minlength=logits.shape[1])
        logits[row, (counts >= 3) & (np.arange(len(counts)) != 3)] = -np.inf
    return logits


OPTIONS = [
    {"max_new_tokens": 30},
    {"max_new_tokens": 30, "min_new_tokens": 9, "banned": (0, 1), "logprobs": 3},
    {"max_new_tokens": 7},
    {"max_new_tokens": 25, "sample": True, "temperature": 0.5, "top_p": 0.9, "seed": 3},
]


@pytest.mark.parametrize("kind", [Forgetful, FakeRunner])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rest", [{}, {"rules": {"thrice": no_token_thrice}}, {"stops": lambda request, t: t[-2:] == [7, 8]}],
                         ids=["plain", "rules", "stops"])
def test_look_up_gives_the_same_hypotheses(kind: type[FakeRunner], options: dict, rest: dict) -> None:
    if rest and "rules" in rest:
        options = options | {"max_new_tokens": min(options["max_new_tokens"], 15), "min_new_tokens": 0}
    for inputs in ({"sources": SOURCES}, {"sources": None, "prompts": SOURCES}):
        plain = generate_batch(kind(10), **inputs, options=GenerationOptions(**options), **rest)
        found = generate_batch(kind(10), **inputs, options=GenerationOptions(**options, lookup=8), **rest)
        for (a,), (b,) in zip(plain, found, strict=True):
            assert (a.tokens, a.reason, len(a.tops)) == (b.tokens, b.reason, len(b.tops))
            np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
@pytest.mark.parametrize("salt", ["", "other"])
def test_a_draft_gives_greedy_search_the_same_tokens(options: dict, salt: str) -> None:
    for inputs in ({"sources": SOURCES}, {"sources": None, "prompts": SOURCES}):
        for most in (1, 4, 20):
            plain = generate_batch(FakeRunner(10), **inputs, options=GenerationOptions(**options))
            runner, draft = FakeRunner(10), FakeRunner(10, salt=salt)
            found = generate_batch(runner, **inputs, options=GenerationOptions(**options, draft_tokens=most), draft=draft)
            assert [one[0].tokens for one in found] == [one[0].tokens for one in plain]
            if not salt:
                assert runner.calls <= sum(-(-len(one[0].tokens) // (most + 1)) + 1 for one in plain), "all came true"


def test_repeating_text_takes_few_steps_and_other_text_few_guesses() -> None:
    runner = Forgetful(10)
    (found,) = generate_batch(runner, [[5]], GenerationOptions(max_new_tokens=60, banned=(3,), lookup=16))
    assert len(found[0].tokens) == 60 and runner.calls < 20
    pace, guesses = Pace(16), 0
    for _ in range(128):
        size = pace.next()
        guesses += size
        if size:
            pace.learn(0, size)
    assert guesses <= 2 * 7, "128 tokens, 7 failures"


def test_what_is_looked_up() -> None:
    def guess(source: tuple, tokens: list[int], most: int = 5) -> list[int]:
        lookup = Lookup(Request(0, 9, source=source), 8)
        lookup._pace = type("All", (), {"next": lambda self: 8})()
        return [one.token for one in lookup.guess(tokens, most)]

    assert guess((), [1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5, 1, 2]
    assert guess((), [1, 2, 3, 9, 2, 3, 8, 1, 2, 3], 2) == [9, 2], "three tokens alike go before two"
    assert guess((), [2, 3, 8, 1, 2, 3, 7, 5, 2, 3], 2) == [7, 5], "the later of two places"
    assert guess((), [6, 6, 6], 4) == [6, 6, 6, 6], "round in circles"
    assert guess((4, 5, 6, 7, 3), [2, 4, 5]) == [6, 7, 3]
    assert guess((4, 5, 6), [2, 5]) == guess((), [1, 2, 3]) == guess((), [1]) == []


def test_sampling_with_a_draft_follows_the_distribution() -> None:
    """Chi-square of 6,000 outputs of three tokens against their probabilities; the draft is another model."""
    runner, draft, count = Cached(5, sharpness=1.0), Cached(5, sharpness=1.0, salt="draft"), 6000
    options = GenerationOptions(sample=True, temperature=0.8, top_k=4, max_new_tokens=3, min_new_tokens=3, draft_tokens=2)
    found = generate_batch(runner, [[9]] * count, options, draft=draft)
    expected = {}
    for tokens in itertools.product(range(5), repeat=3):
        if 3 in tokens[:2] or tokens[2] == 3:
            continue
        p = 1.0
        for at, token in enumerate(tokens):
            logits = runner.logits((9,), (2, *tokens[:at])).astype(np.float64) / 0.8
            logits[3] = -np.inf  # the end may not come
            p *= float(np.exp(log_softmax(logits[None])[0, token]))
        expected[tokens] = p
    assert sum(expected.values()) == pytest.approx(1.0)
    counts = dict.fromkeys(expected, 0)
    for (one,) in found:
        counts[one.tokens] += 1
    frequent = [tokens for tokens in expected if expected[tokens] * count >= 5]
    rare = [tokens for tokens in expected if expected[tokens] * count < 5]
    pooled = [frequent, *([rare] if rare else [])]
    observed = [counts[t] for t in frequent] + ([sum(counts[t] for t in rare)] if len(pooled) > 1 else [])
    wanted = [expected[t] * count for t in frequent] + ([sum(expected[t] for t in rare) * count] if len(pooled) > 1 else [])
    assert stats.chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 0.001
    assert runner.calls < 3 * count, "some guesses came true"


def test_a_seed_gives_the_same_draws_whatever_the_neighbours() -> None:
    options = GenerationOptions(sample=True, seed=4, max_new_tokens=12)
    def run(sources: list, **rest: Any) -> list:
        return generate_batch(FakeRunner(12), sources, options, draft=FakeRunner(12, salt="d"), **rest)
    together = run(SOURCES)
    assert together == run(SOURCES) != run(SOURCES, seeds=[9] * 4)
    assert [run([source], streams=[at])[0] for at, source in enumerate(SOURCES)] == together


def test_a_draft_of_a_smaller_window_stops_guessing() -> None:
    draft = FakeRunner(10)
    draft.max_target = 6
    options = GenerationOptions(max_new_tokens=20)
    for prompts in ([[5]], [[5] * 7]):
        plain = generate_batch(FakeRunner(10), None, options, prompts=prompts)
        assert generate_batch(FakeRunner(10), None, options, prompts=prompts, draft=draft) == plain


def test_events_stream_as_without_guesses() -> None:
    def tokens(**more: Any) -> list[int]:
        events = generate(Forgetful(10), [[5]], GenerationOptions(max_new_tokens=20, **more))
        return [event.token for event in events if isinstance(event, TokenEvent)]
    assert tokens(lookup=8) == tokens()


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom", "gemma2", "t5", "marian"])
def test_several_tokens_at_once_are_the_same_as_one_after_another(tmp_path: Path, family: str) -> None:
    model = load(bundles.bundle(tmp_path / "b", family))
    ids, runner = [7, 9, 11, 8, 5, 6, 30, 31], model.runner
    def begin() -> None:
        if model.config.encoder is None:
            runner.start(None, 1, [[5, 6, 7], [8]])
        else:
            runner.start(runner.encode([[5, 6, 2], [7, 2]]), 1)
    begin()
    singly = [runner.step(np.array([token, token])) for token in ids]
    begin()
    first = runner.step(np.array([ids[:3]] * 2)).reshape(2, 3, -1)
    runner.step(np.array([[20, 21, 22, 23]] * 2))
    runner.drop(4)
    rest = runner.step(np.array([ids[3:]] * 2)).reshape(2, 5, -1)
    assert runner.hidden().shape == (10, model.config.width)
    np.testing.assert_allclose(np.concatenate((first, rest), 1), np.stack(singly, 1), atol=2e-4)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_angles_that_change_with_the_length_are_those_of_each_length(tmp_path: Path, backend: str) -> None:
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = load(bundles.bundle(tmp_path / "b", "llama", rope_scaling=scaling, max_position_embeddings=8), backend=backend,
                 precision="fp32")
    prompts = [[7, 8, 9], [6] * 5]
    limit = {"max_new_tokens": model.config.window.target - 6}
    for found, plain in zip(model.generate(prompts, **limit, lookup=4), model.generate(prompts, **limit), strict=True):
        assert found.tokens == plain.tokens
        np.testing.assert_allclose(found.logprobs, plain.logprobs, atol=1e-4)


def test_the_facade(tmp_path: Path) -> None:
    big = load(bundles.bundle(tmp_path / "big", "gpt2"))
    small = bundles.bundle(tmp_path / "small", "llama")
    prompts = [[7, 8, 9, 7, 8, 9, 7, 8], [5, 6]]
    plain = [one.tokens for one in big.generate(prompts, max_new_tokens=20)]
    for rest in ({"lookup": 6}, {"draft": small}, {"draft": load(small), "draft_tokens": 2}, {"draft": big}):
        assert [one.tokens for one in big.generate(prompts, max_new_tokens=20, **rest)] == plain
        events = big.stream(prompts[0], max_new_tokens=20, **rest)
        assert tuple(event.token for event in events if isinstance(event, TokenEvent)) == plain[0]
    assert big.complete("w7 w8", max_new_tokens=5, draft=small).tokens == big.complete("w7 w8", max_new_tokens=5).tokens


def test_an_encoder_decoder_guesses_too(tmp_path: Path) -> None:
    big, small = (load(bundles.bundle(tmp_path / name, name)) for name in ("bart", "marian"))
    plain = big.translate(["w1 w2 w3", "w5"], max_new_tokens=15)
    assert big.translate(["w1 w2 w3", "w5"], max_new_tokens=15, draft=small) == plain
    assert big.translate(["w1 w2 w3", "w5"], max_new_tokens=15, lookup=5) == plain


def test_what_is_refused(tmp_path: Path) -> None:
    big = load(bundles.bundle(tmp_path / "big", "gpt2"))
    other = bundles.bundle(tmp_path / "other", "gpt2", around=True)
    fingerprints = (big.config.tokenizer, load(other).config.tokenizer)
    with pytest.raises(UsageError) as error:
        big.generate([[5]], draft=other)
    assert all(fingerprint in str(error.value) for fingerprint in fingerprints)
    with pytest.raises(UsageError, match="draft and beams=4 contradict each other; a draft goes with greedy"):
        big.generate([[5]], draft=big, beams=4)
    with pytest.raises(UsageError, match="draft and lookup=3 contradict each other; guess ahead by one of the two"):
        big.generate([[5]], draft=big, lookup=3)
    with pytest.raises(UsageError, match="lookup=3 and beams=2 contradict each other"):
        GenerationOptions(lookup=3, beams=2)
    with pytest.raises(UsageError, match="the draft is encoder-decoder, this model decoder-only"):
        big.generate([[5]], draft=bundles.bundle(tmp_path / "t5", "t5"))


def test_a_recurrent_model_refuses_to_guess() -> None:
    from weft.families import rnn
    from weft.nn.model import Model as Network

    runner = TorchRunner(Network(rnn.config(40, 16, 16)).initialise(0))
    with pytest.raises(UsageError, match="a recurrent decoder cannot take back what it has read"):
        generate_batch(runner, [[5, 3]], GenerationOptions(lookup=3))


def test_the_same_files_open_once(tmp_path: Path) -> None:
    """A model that is its own draft must not share its runner's state with itself."""
    model = Model(open_bundle(bundles.bundle(tmp_path / "m", "gpt2")))
    (found,), (plain,) = (model.generate([[5, 6]], max_new_tokens=9, **rest) for rest in ({"draft": model}, {}))
    assert found.tokens == plain.tokens and found.score == pytest.approx(plain.score, abs=1e-4)
