"""What beam search tells besides its answers: top log-probabilities, certain tokens, coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weft
from tests.decode.fake import FakeRunner
from weft.bundle import save_bundle
from weft.decode import generate, generate_batch
from weft.decode.chain import log_softmax
from weft.errors import UsageError
from weft.nn.model import Model as Network
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, StepEvent, TokenEvent
from weft.spec.trace import Trace

BANNED = (0, 1, 2)
SOURCES = [[int(token) for token in row] for row in
           (np.random.default_rng(seed).integers(4, 9, 1 + seed % 5) for seed in range(60))]


# ---------------------------------------------------------------- top log-probabilities


@pytest.mark.parametrize("settings", [{}, {"logit_bias": ((5, -1.0),)}, {"beam_scores": "raw"},
                                      {"beam_groups": 2, "diversity": 0.7}, {"forced_words": ((5, 4),)}], ids=str)
def test_every_token_of_every_hypothesis_has_what_else_was_likely(settings: dict) -> None:
    runner = FakeRunner(9)
    options = GenerationOptions(beams=4, n_best=4, logprobs=7, max_new_tokens=8, banned=BANNED, **settings)
    for source, found in zip(SOURCES, generate_batch(runner, SOURCES, options), strict=True):
        for hypothesis in found:
            assert len(hypothesis.tops) == len(hypothesis.tokens)
            for step, (token, log_prob, top) in enumerate(zip(hypothesis.tokens, hypothesis.log_probs, hypothesis.tops,
                                                              strict=True)):
                logits = runner.logits(tuple(source), (runner.start_token, *hypothesis.tokens[:step]))
                logits[5] += dict(options.logit_bias).get(5, 0.0)
                if options.beam_scores == "raw":
                    expected = log_softmax(logits[None])[0]
                    expected[list(BANNED)] = -np.inf
                else:
                    logits[list(BANNED)] = -np.inf
                    expected = log_softmax(logits[None])[0]
                order = np.argsort(-expected, kind="stable")[:7]
                assert [one for one, _ in top] == order.tolist()
                np.testing.assert_allclose([value for _, value in top], expected[order], atol=1e-5)
                assert log_prob == pytest.approx(expected[token], abs=1e-5)


def test_more_likely_tokens_than_the_beam_looks_at_change_nothing_else() -> None:
    plain, told = (generate_batch(FakeRunner(30), SOURCES, GenerationOptions(beams=2, n_best=2, logprobs=count))
                   for count in (0, 20))
    assert [[h.tokens for h in found] for found in plain] == [[h.tokens for h in found] for found in told]
    assert all(len(top) == 20 for found in told for h in found for top in h.tops)


# ---------------------------------------------------------------- streaming


@pytest.mark.parametrize("settings", [
    {"beams": 2}, {"beams": 5, "n_best": 5, "logprobs": 2}, {"beams": 4, "early_stopping": "first"},
    {"beams": 4, "length_formula": "average", "length_penalty": 2.0}, {"beams": 4, "length_penalty": -1.0},
    {"beams": 4, "beam_groups": 2, "diversity": 0.5}, {"beams": 4, "forced_words": ((5,), (6, 6))}], ids=str)
def test_a_token_is_told_once_it_is_certain_and_all_are_told(settings: dict) -> None:
    """However the search goes on: at every moment the tokens told begin every answer that is still possible."""
    runner, early = FakeRunner(9, sharpness=3.0), 0
    events = list(generate(runner, SOURCES, GenerationOptions(max_new_tokens=12, banned=BANNED, **settings)))
    for index in range(len(SOURCES)):
        own = [event for event in events if event.request == index]
        assert isinstance(own[-1], FinishedEvent)
        best = own[-1].hypotheses[0]
        told = [event for event in own if isinstance(event, TokenEvent)]
        assert tuple(event.token for event in told) == best.tokens
        assert tuple(event.log_prob for event in told) == best.log_probs
        assert not best.tops or tuple(event.top for event in told) == best.tops
        last_step = max((place for place, event in enumerate(own) if isinstance(event, StepEvent)), default=0)
        early += any(isinstance(event, TokenEvent) for event in own[:last_step])
    assert early > len(SOURCES) / 4, "tokens come before the end where hypotheses agree"


def test_the_stream_of_beams_is_the_text(tiny_bundle: Path) -> None:
    model, chance = weft.load(tiny_bundle), np.random.default_rng(0)
    words = ["one", "two", "three", "é", "five.", "nine", "😀"]
    for _ in range(25):
        source = " ".join(chance.choice(words, chance.integers(1, 7)))
        for options in ({"beams": 4}, {"beams": 3, "stop": ("e",)}, {"beams": 4, "beam_groups": 2, "diversity": 2.0}):
            (result,) = model.generate([source], max_new_tokens=12, n_best=1, **options)
            events = list(model.stream(source, max_new_tokens=12, **options))
            assert "".join(event.text for event in events if isinstance(event, TokenEvent)) == result.text
            assert events[-1].hypotheses[0].tokens[: len(result.tokens)] == result.tokens


# ---------------------------------------------------------------- coverage


def network(kind: str) -> Network:
    """A random model whose attention is sharp enough to leave source tokens out."""
    special, window = c.SpecialTokens(0, 1, 2, 3, 2), c.Window(24, 24)
    if kind == "transformer":
        stack = c.TransformerStack(2, c.Attention(2), c.FeedForward(24))
        config = c.ModelConfig(12, 16, encoder=stack, decoder=stack, special=special, window=window)
    else:
        bridge = c.BahdanauAttention(8) if kind == "bahdanau" else c.LuongAttention("general")
        config = c.ModelConfig(12, 16, encoder=c.RecurrentStack("gru", 1, 16, bidirectional=True),
                               decoder=c.RecurrentStack("gru", 1, 16, bridge=bridge), special=special, window=window)
    model = Network(config).initialise(1)
    for name, parameter in model.named_parameters():
        parameter.data.mul_(1.0 if "norm" in name else 9.0 if "decoder.attention" in name else 3.0)
    return model


def saved(folder: Path, model: Network) -> weft.Model:
    from tests.bundles import tokenizer
    words = tokenizer(words=12)
    config = model.config.with_tokenizer(words.fingerprint, 12)
    weights = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    return weft.load(save_bundle(folder, config, weights, words.to_json(), {}, "# m\n"))


@pytest.mark.parametrize("kind", ["transformer", "bahdanau", "luong"])
def test_coverage_is_wu_et_al_equation_14(kind: str, tmp_path: Path) -> None:
    """Every score again, from teacher-forced logits and the cross-attention of a trace; sources ragged, in one batch."""
    model, beta, alpha = saved(tmp_path / "m", network(kind)), 0.9, 0.6
    sources = [[5, 6, 7, 8, 3], [9, 3], [4, 4, 10, 11, 5, 6, 7, 3], [11, 3]]
    settings = {"beams": 4, "n_best": 4, "max_new_tokens": 7, "length_penalty": alpha, "banned": [0, 1, 2]}
    results, plain = (model.generate(sources, **settings, **more) for more in ({"coverage_penalty": beta}, {}))
    for source, result in zip(sources, results, strict=True):
        assert [one.score for one in result.alternatives] == sorted((one.score for one in result.alternatives), reverse=True)
        for one in result.alternatives:
            trace, tokens = Trace(), [2, *one.tokens, *([3] if one.finished else [])]
            logits = model.logits([source], [tokens[:-1]], trace=trace)[0]
            logits[:, [0, 1, 2]] = -np.inf
            total = log_softmax(logits)[np.arange(len(tokens) - 1), tokens[1:]].sum()
            name = "decoder.attention.weights" if kind != "transformer" else "decoder.blocks.1.cross_attention.weights"
            received = trace[name][0].mean(0).sum(0)
            assert received.shape == (len(source),)
            coverage = beta * sum(np.log(min(value, 1.0)) for value in received)
            length = ((5 + len(tokens) - 1) / 6) ** alpha
            assert one.score == pytest.approx(total / length + coverage, abs=1e-4)
    order = [[[one.tokens for one in result.alternatives] for result in found] for found in (results, plain)]
    assert order[0] != order[1], "the penalty decides something here"


@pytest.mark.parametrize("kind", ["transformer", "luong"])
def test_coverage_does_not_depend_on_neighbours(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "m", network(kind))
    sources = [[*row, 3] for row in SOURCES[:20]]
    settings = {"beams": 3, "coverage_penalty": 1.0, "max_new_tokens": 6}
    together = model.generate(sources, **settings)
    for source, result in zip(sources, together, strict=True):
        (alone,) = model.generate([source], **settings)
        assert alone.tokens == result.tokens and alone.score == pytest.approx(result.score, abs=1e-5)


def test_coverage_needs_attention_to_a_source(tmp_path: Path) -> None:
    from weft.backends.torch import TorchRunner

    stack = c.TransformerStack(1, c.Attention(2), c.FeedForward(24))
    special, target = c.SpecialTokens(0, 1, 2, 3, 2), c.Embedding("target")
    decoder_only = Network(c.ModelConfig(12, 16, decoder=stack, special=special, embedding=target)).initialise(0)
    summary = Network(c.ModelConfig(12, 16, encoder=c.RecurrentStack("gru", 1, 16), special=special,
                                    decoder=c.RecurrentStack("gru", 1, 16, bridge=c.SingleVector()))).initialise(0)
    options = GenerationOptions(beams=2, coverage_penalty=0.2, max_new_tokens=3)
    for model, given in ((decoder_only, {"sources": None, "prompts": [[2, 5]]}), (summary, {"sources": [[5, 3]]})):
        with pytest.raises(UsageError, match="no attention to a source, which a coverage penalty goes by; leave out coverage"):
            generate_batch(TorchRunner(model), **given, options=options)


def test_a_source_token_that_nothing_looked_at_leaves_a_finite_score() -> None:
    from weft.decode.strategies.beam import UNSEEN, coverage_score

    assert coverage_score(np.array([0.0, 1.7, 0.5], np.float32), 2.0) == pytest.approx(2 * (np.log(UNSEEN) + np.log(0.5)))
