"""What a recorder tells is what happened, and nothing changes by its being there."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.backends.both import native
from tests.backends.both import rows as texts
from tests.bundles import bundle
from tests.decode.fake import FakeRunner
from tests.marian import EOS, random_marian, weft_model
from tests.variants import ENCODER_DECODERS
from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.decode.chain import log_softmax
from weft.decode.processors import processors_for
from weft.decode.recorder import Recorder
from weft.decode.strategies import name_of, strategies
from weft.decode.strategies.greedy import Greedy
from weft.decode.strategies.strategy import Outcome
from weft.errors import UsageError
from weft.families import rnn
from weft.inspect.journey import journey
from weft.nn.model import Model as Network
from weft.spec.decoding import GenerationOptions
from weft.spec.decoding_trace import DecodingTrace, RequestTrace
from weft.spec.runner import TextRunner
from weft.spec.trace import Trace

SOURCES = [[5], [4, 6, 7], [7, 7], [5, 4], [6], [6, 6, 6, 6]]
WAYS = [
    {}, {"beams": 3, "n_best": 3}, {"beams": 3, "early_stopping": "first", "stop": ("x",)}, {"logprobs": 3},
    {"sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 7}, {"beams": 2, "min_new_tokens": 4},
    {"beams": 3, "beam_scores": "raw"}, {"sample": True},
    {"beams": 4, "beam_groups": 2, "diversity": 0.5}, {"beams": 4, "forced_words": ((5,),)},
    {"penalty_alpha": 0.6, "top_k": 4}, {"penalty_alpha": 0.3, "top_k": 3, "no_repeat_ngram": 2, "logprobs": 5}]
"""Options of every strategy; a new one needs an entry here."""


def options(way: dict, limit: int = 8) -> GenerationOptions:
    return GenerationOptions(max_new_tokens=limit, banned=(0, 1, 2), **way)


def recorded(runner: object, way: dict, sources: list | None = SOURCES, **arguments: object) -> tuple[RequestTrace, ...]:
    recorder = Recorder(candidates=4)
    generate_batch(runner, sources, options(way), recorder=recorder, **arguments)
    return recorder.requests


def test_every_strategy_is_recorded_here() -> None:
    assert {name_of(options(way)) for way in WAYS} == set(strategies())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_watching_changes_nothing(way: dict) -> None:
    marian = TorchRunner(weft_model(random_marian(3, eos_bias=1.0)))
    for runner in (FakeRunner(12), marian):
        plain = generate_batch(runner, SOURCES, options(way))
        assert [request.results for request in recorded(runner, way)] == plain


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_watching_changes_nothing_whatever_is_asked(data: st.DataObject) -> None:
    way = data.draw(st.fixed_dictionaries({"beams": st.integers(1, 5), "min_new_tokens": st.integers(0, 4),
                                           "length_penalty": st.floats(-1, 2),
                                           "early_stopping": st.sampled_from(["exact", "heuristic", "first"])}))
    if way["beams"] == 1:
        del way["early_stopping"]
    if data.draw(st.booleans()):
        way = {"sample": True, "temperature": data.draw(st.floats(0.1, 3)), "top_k": data.draw(st.integers(0, 9)),
               "top_p": data.draw(st.floats(0.1, 1)), "seed": data.draw(st.integers(0, 99))}
    limits = data.draw(st.lists(st.integers(0, 8).filter(lambda n: n == 0 or n >= way.get("min_new_tokens", 0)),
                                min_size=len(SOURCES), max_size=len(SOURCES)))
    runner = TorchRunner(weft_model(random_marian(5, eos_bias=1.0, layers=1)))
    plain = generate_batch(runner, SOURCES, options(way), limits=limits)
    watched = recorded(runner, way, limits=limits)
    assert [request.results for request in watched] == plain
    assert [len(request.steps) > 0 for request in watched] == [limit > 0 for limit in limits]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_ancestry_leads_to_the_results_and_scores_add_up(way: dict) -> None:
    for request in recorded(FakeRunner(12), way):
        finished: dict[tuple[int, ...], list[float]] = {}
        for number, step in enumerate(request.steps):
            told = step.continuations
            assert [fate == "kept" for fate in told.fates] == [place >= 0 for place in told.places]
            assert len(set(told.places[told.places >= 0])) == (told.places >= 0).sum()
            for parent, token, log_prob, total, score, fate in zip(
                    told.parents, told.tokens, told.log_probs, told.sums, told.scores, told.fates, strict=True):
                assert total == pytest.approx(step.sums[parent] + log_prob, abs=1e-5)
                if fate == "finished":
                    finished.setdefault((*request.tokens(number, parent), int(token)), []).append(float(score))
        for result in request.results:
            assert any(score == pytest.approx(result.score, abs=1e-5) for score in finished[result.tokens])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_candidates_are_the_slow_obvious_ones(way: dict) -> None:
    runner = FakeRunner(12)
    chosen = options(way)
    ruling = [name for name, processor in processors_for(chosen).items() if chosen.draws or not processor.shapes]
    for source, request in zip(SOURCES, recorded(runner, way), strict=True):
        for number, step in enumerate(request.steps):
            assert step.stages[0] == "model" and set(ruling) <= set(step.stages)
            for row in np.flatnonzero(step.sums > -np.inf):
                logits = runner.logits(tuple(source), (2, *request.tokens(number, row)))
                best = np.argsort(-logits, kind="stable")[:4]
                assert step.candidates[row, :4].tolist() == best.tolist()
                assert step.scores[0, row, :4] == pytest.approx(logits[best])
                assert step.log_probs[0, row, :4] == pytest.approx(log_softmax(logits[None])[0, best], abs=1e-5)
                assert step.removed[1, row] == (4 if number < chosen.min_new_tokens else 3)
                banned = [candidate for candidate, token in enumerate(step.candidates[row]) if 0 <= token < 3]
                assert {step.removed_at(row, candidate) for candidate in banned} <= {"bans"}
                assert step.removed_mass[1, row] == pytest.approx(
                    np.exp(log_softmax(logits[None])[0, [0, 1, 2] + [3] * (number < chosen.min_new_tokens)]).sum(), abs=1e-5)
            chosen_ones = set(zip(step.continuations.parents.tolist(), step.continuations.tokens.tolist(), strict=True))
            assert all(token in step.candidates[parent] for parent, token in chosen_ones)


@pytest.mark.parametrize(("way", "limit"), [
    ({"beams": 8, "forced_words": ((5, 7), (6,))}, 3), ({"beams": 8, "forced_words": ((5, 7), (6,)), "beam_scores": "raw"}, 3),
    ({"beams": 4, "beam_groups": 2, "diversity": 2.0}, 8)], ids=str)
def test_what_is_kept_are_the_rows_that_hold_a_hypothesis_at_the_next_step(way: dict, limit: int) -> None:
    """Also where others only fill the places of a request: rows beside few continuations, groups that are done."""
    recorder, filled = Recorder(), 0
    generate_batch(FakeRunner(12), SOURCES, options(way, limit), recorder=recorder)
    for request in recorder.requests:
        for step, after in itertools.pairwise(request.steps):
            told, alive = step.continuations, np.flatnonzero(after.sums > -np.inf).tolist()
            assert sorted(place for place in told.places.tolist() if place >= 0) == alive
            filled += len(alive) < len(after.sums)
    assert filled


def test_log_probabilities_where_nothing_is_left() -> None:
    """A hypothesis may come to a dead end while others go on."""
    way = {"beams": 4, "banned_words": tuple((5, token) for token in range(3, 12)), "min_new_tokens": 8}
    steps = [step for request in recorded(FakeRunner(12), way) for step in request.steps]
    dead = [step for step in steps if np.isneginf(step.log_sums[-1, step.sums > -np.inf]).any()]
    assert dead and all(np.isneginf(step.log_probs[-1, np.isneginf(step.log_sums[-1])]).all() for step in dead)


def test_a_last_step_with_nothing_to_go_on_with() -> None:
    """What has ended is the answer then."""
    way = {"beams": 2, "logit_bias": tuple((token, -np.inf) for token in range(4, 12) if token != 5),
           "banned_words": ((5, EOS), (5, 5))}
    for request in recorded(FakeRunner(12), way):
        assert [len(step.continuations.tokens) for step in request.steps] == [2, 0] and request.guesses == ()
        assert [found.tokens for found in request.results] == [(EOS,)]
        trace = DecodingTrace("fake", "encoder-decoder", "beam", {}, {}, (replace(request, texts=("",)),))
        assert "ended by itself" in "\n".join(map(str, journey(trace)))


class SaysNothing(Greedy):
    def take(self, *arguments: object) -> Outcome:
        recorder, self.batch = self.batch.recorder, replace(self.batch, recorder=None)
        assert recorder is not None
        return super().take(*arguments)


def test_a_strategy_that_tells_nothing_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="does not tell a recorder what it considers"):
        generate_batch(FakeRunner(12), SOURCES, options({}), recorder=Recorder(), strategy=SaysNothing)


def test_what_sampling_drew_from() -> None:
    """The drawn number, with what the last stage left, gives the chosen token again."""
    recorder = Recorder(candidates=12)
    way = {"sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 7}
    generate_batch(FakeRunner(12), SOURCES, options(way), recorder=recorder)
    for request in recorder.requests:
        for step in request.steps:
            assert step.stages == ("model", "bans", "temperature", "top_k", "top_p")
            order = np.argsort(step.candidates[0])
            probabilities = np.exp(step.log_probs[-1, 0, order])
            assert probabilities.sum() == pytest.approx(1, abs=1e-5)
            place = int((probabilities.cumsum() <= step.drawn[0] * probabilities.sum()).sum())
            assert step.candidates[0, order][place] == step.continuations.tokens[0]
            assert step.removed[3, 0] == 12 - 3 - 5


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("way", [{}, {"beams": 3}, {"penalty_alpha": 0.6, "top_k": 3}, {"lookup": 4}], ids=str)
def test_attention_is_that_of_the_whole_sequence(backend: str, way: dict) -> None:
    if backend == "torch":
        runner, sources = TorchRunner(weft_model(random_marian(3))), [[*source, EOS] for source in SOURCES]
    else:
        runner, sources = native(ENCODER_DECODERS["untied"]), texts((7, 1, 20, 4))
    for source, request in zip(sources, recorded(runner, way, sources), strict=True):
        _same_points(runner, source, request)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_attention_of_ragged_prompts(tmp_path: Path, backend: str) -> None:
    model = weft.load(bundle(tmp_path / "llama", "llama"), backend=backend)
    prompts = [[5], [4, 6, 7, 9, 8], [7, 11]]
    for way in ({}, {"beams": 3}, {"penalty_alpha": 0.6, "top_k": 3}, {"lookup": 4}):
        for request in recorded(model.runner, way, None, prompts=prompts):
            _same_points(model.runner, None, request)


@pytest.mark.parametrize("bridge", rnn.BRIDGES)
def test_attention_of_recurrent_models(bridge: str) -> None:
    runner = TorchRunner(Network(rnn.config(12, 16, 12, bridge=bridge)).initialise(0))
    for source, request in zip(SOURCES, recorded(runner, {"beams": 2}), strict=True):
        _same_points(runner, source, request)


def _same_points(runner: TextRunner, source: list[int] | None, request: RequestTrace) -> None:
    for number, step in enumerate(request.steps):
        for row in np.flatnonzero(step.sums > -np.inf):
            whole = Trace()
            target = [*request.prompt, *request.tokens(number, row)]
            runner.logits(None if source is None else [source], [target], whole)
            assert {name for name in whole if name.startswith("decoder")} == set(step.points)
            for name, array in step.points.items():
                expected = whole[name][0, :, -1] if name.endswith("weights") else whole[name][0, -1]
                np.testing.assert_allclose(array[row], expected, atol=2e-5, err_msg=name)
            for name, array in request.reading.items():
                expected = whole[name][0]
                if name.startswith("decoder"):
                    before = len(request.prompt) - 1
                    expected = expected[:, :before, :before] if name.endswith("weights") else expected[:before]
                np.testing.assert_allclose(array, expected, atol=2e-5, err_msg=name)
    names = {name.split(".")[0] for name in request.reading}
    assert names == ({"encoder"} if source is not None else {"decoder"} if len(request.prompt) > 1 else set())


def test_a_choice_among_whole_answers_is_not_traced() -> None:
    with pytest.raises(UsageError, match="mbr=3 chooses among whole answers, which a trace of one does not show"):
        weft.load("fr-en").trace("Bonjour.", sample=True, mbr=3)


def test_chosen_layers_and_heads() -> None:
    model = weft.load("fr-en")
    full = model.trace("Bonjour.").requests[0]
    part = model.trace("Bonjour.", layers=[2], heads=[3, 1]).requests[0]
    name = "decoder.blocks.2.cross_attention.weights"
    assert not [one for one in part.steps[0].points if "blocks.0" in one or "blocks.1" in one]
    assert np.array_equal(part.steps[1].points[name], full.steps[1].points[name][:, [3, 1]])
    assert not [one for one in model.trace("Bonjour.", layers=[]).requests[0].steps[0].points if one.endswith("weights")]
    for bad, message in (({"layers": [3]}, "layers holds 3; this model's layers run from 0 to 2"),
                         ({"heads": [-1]}, "heads holds -1; this model's heads run from 0 to 3"),
                         ({"candidates": 0}, "candidates is 0; it must be 1 or more; the nearest is 1"),
                         ({"heads": [0.5]}, r"heads is \[0.5\]; it must be a row of whole numbers"),
                         ({"layers": 1}, "layers is 1; it must be a row of whole numbers")):
        with pytest.raises(UsageError, match=message):
            model.trace("Bonjour.", **bad)


@pytest.mark.parametrize("way", [{}, {"beams": 1}, {"sample": True, "top_p": 0.9, "seed": 3, "stop": ["nothing"]}], ids=str)
def test_a_shipped_model_does_the_same_when_watched(way: dict) -> None:
    model = weft.load("fr-en")
    texts = ["Le chat dort.", "Où est la gare ?"]
    trace = model.trace(texts, **way)
    for text, request, result in zip(texts, trace.requests, model.generate(texts, **way), strict=True):
        assert (request.text, request.texts[0], request.results[0].score) == (text, result.text, result.score)
        assert all(trace.pieces[token] for token in request.source)
    assert model.trace("Bonjour.", max_new_tokens=0).requests[0].steps == ()
    with pytest.raises(UsageError, match="input 1 is blank"):
        model.trace(" ")
