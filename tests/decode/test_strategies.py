"""Strategies against enumeration, and what must always hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tests.decode.fake import FakeRunner
from weft.decode import generate, generate_batch
from weft.decode.chain import Chain, log_softmax
from weft.decode.rows import Request, Rows
from weft.errors import UsageError, WindowError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, StepEvent, TokenEvent

SOURCES = [[5], [4, 6, 7], [7, 7], [5, 4], [6], [6, 6, 6, 6]]
BANNED = (0, 1, 2)


def every_hypothesis(runner: FakeRunner, source: tuple, limit: int) -> dict[tuple[int, ...], float]:
    """Tokens -> sum of log-probabilities, of all sequences that end or reach the limit."""
    found, open_ones = {}, {(): 0.0}
    for _ in range(limit):
        grown = {}
        for prefix, score in open_ones.items():
            logits = runner.logits(source, (runner.start_token, *prefix))
            logits[list(BANNED)] = -np.inf
            log_probs = log_softmax(logits[None])[0]
            for token in range(3, runner.vocabulary_size):
                (found if token == runner.eos else grown)[(*prefix, token)] = score + log_probs[token]
        open_ones = grown
    return found | open_ones


@pytest.mark.parametrize("formula,alpha", [("wu", 1.0), ("average", 1.0), ("wu", 0.0), ("average", 2.0)])
def test_a_wide_exact_beam_finds_the_best_of_all(formula: str, alpha: float) -> None:
    runner, limit = FakeRunner(6), 4
    options = GenerationOptions(beams=64, n_best=3, max_new_tokens=limit, length_formula=formula,
                                length_penalty=alpha, banned=BANNED)
    for source, found in zip(SOURCES, generate_batch(runner, SOURCES, options), strict=True):
        scores = {tokens: score / (((5 + len(tokens)) / 6) if formula == "wu" else len(tokens)) ** alpha
                  for tokens, score in every_hypothesis(runner, tuple(source), limit).items()}
        expected = sorted(scores, key=lambda tokens: -scores[tokens])[:3]
        assert [hypothesis.tokens for hypothesis in found] == expected
        assert [hypothesis.score for hypothesis in found] == pytest.approx([scores[t] for t in expected], abs=1e-4)


def test_beam_one_candidate_equals_greedy_and_log_probs_add_up() -> None:
    runner = FakeRunner(12)
    greedy = generate_batch(runner, SOURCES, GenerationOptions(max_new_tokens=9, banned=BANNED))
    for source, (hypothesis,) in zip(SOURCES, greedy, strict=True):
        prefix = (runner.start_token,)
        for token in hypothesis.tokens:
            logits = runner.logits(tuple(source), prefix)
            logits[list(BANNED)] = -np.inf
            assert token == int(np.argmax(logits))
            prefix += (token,)
        assert hypothesis.finished == (hypothesis.tokens[-1] == runner.eos)
        assert len(hypothesis.log_probs) == len(hypothesis.tokens)


@pytest.mark.parametrize("options", [
    GenerationOptions(max_new_tokens=9),
    GenerationOptions(beams=3, n_best=3, max_new_tokens=9),
    GenerationOptions(beams=3, early_stopping="first", length_formula="average"),
    GenerationOptions(beams=2, early_stopping="heuristic", min_new_tokens=4),
    GenerationOptions(sample=True, temperature=0.7, top_k=5, top_p=0.9, seed=7),
], ids=str)
def test_a_request_does_not_depend_on_its_neighbours(options: GenerationOptions) -> None:
    runner = FakeRunner(12)
    seeds = list(range(len(SOURCES)))
    together = generate_batch(runner, SOURCES, options, seeds=seeds)
    for index, source in enumerate(SOURCES):
        assert generate_batch(runner, [source], options, seeds=[seeds[index]]) == [together[index]]
    assert generate_batch(runner, SOURCES[::-1], options, seeds=seeds[::-1]) == together[::-1]


def test_lengths() -> None:
    runner = FakeRunner(6)
    for beams in (1, 3):
        options = GenerationOptions(beams=beams, min_new_tokens=5, max_new_tokens=7)
        for (best, *_) in generate_batch(runner, SOURCES, options):
            assert 5 <= len(best.tokens) <= 7 and runner.eos not in best.tokens[:4]
    limits = generate_batch(runner, SOURCES[:3], GenerationOptions(beams=2), limits=[1, 0, 3])
    assert [len(found[0].tokens) <= limit for found, limit in zip(limits, [1, 0, 3], strict=True)] == [True] * 3
    assert limits[1][0].tokens == ()
    assert generate_batch(runner, [], GenerationOptions()) == []
    with pytest.raises(WindowError, match="65 new tokens do not fit the model's window of 64; ask for at most 64"):
        generate_batch(runner, SOURCES, GenerationOptions(max_new_tokens=65))


def test_n_best_is_sorted_and_distinct_and_first_stops_no_later() -> None:
    runner = FakeRunner(12)
    for found in generate_batch(runner, SOURCES, GenerationOptions(beams=5, n_best=5, max_new_tokens=10)):
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len({h.tokens for h in found}) == len(found) == 5
    best = {}
    for rule in ("exact", "heuristic", "first"):
        options = GenerationOptions(beams=4, early_stopping=rule, length_formula="average")
        best[rule] = [found[0].score for found in generate_batch(runner, SOURCES, options)]
    assert all(exact >= max(h, f) - 1e-9 for exact, h, f in zip(*best.values(), strict=True))


def test_events_stream_in_order() -> None:
    runner = FakeRunner(8)
    events = list(generate(runner, SOURCES[:2], GenerationOptions(max_new_tokens=6)))
    for index in range(2):
        own = [event for event in events if event.request == index]
        assert isinstance(own[-1], FinishedEvent)
        assert [event.token for event in own if isinstance(event, TokenEvent)] == list(own[-1].hypotheses[0].tokens)
    steps = [e for e in generate(runner, SOURCES[:1], GenerationOptions(beams=3, max_new_tokens=6))
             if isinstance(e, StepEvent)]
    assert all(len(step.hypotheses) == 3 for step in steps)


def test_finished_requests_leave_the_batch() -> None:
    runner = FakeRunner(8)
    sizes = []
    step = runner.step
    runner.step = lambda tokens, *rest: (sizes.append(len(tokens)), step(tokens, *rest))[1]  # type: ignore[method-assign]
    generate_batch(runner, SOURCES, GenerationOptions(beams=2), limits=[1, 2, 3, 4, 5, 6])
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 12 and sizes[-1] <= 2


def test_sampled_frequencies_follow_the_processed_distribution() -> None:
    """Chi-square of 20,000 first tokens against temperature, top-k and top-p applied by hand."""
    runner, count = FakeRunner(12, sharpness=1.0), 20_000
    options = GenerationOptions(sample=True, temperature=1.3, top_k=8, top_p=0.9, max_new_tokens=1, banned=(0, 5))
    found = generate_batch(runner, [[9]] * count, options)
    observed = np.bincount([hypotheses[0].tokens[0] for hypotheses in found], minlength=12)
    logits = runner.logits((9,), (runner.start_token,)).astype(np.float64)
    logits[[0, 5]] = -np.inf
    logits /= 1.3
    order = np.argsort(-logits)[:8]
    probabilities = np.exp(logits[order]) / np.exp(logits[order]).sum()
    kept = int(np.searchsorted(probabilities.cumsum(), 0.9)) + 1
    expected = np.zeros(12)
    expected[order[:kept]] = probabilities[:kept] / probabilities[:kept].sum()
    assert observed[expected == 0].sum() == 0
    assert stats.chisquare(observed[expected > 0], expected[expected > 0] * count).pvalue > 0.001


def test_seeds() -> None:
    runner = FakeRunner(30, sharpness=0.5)
    def run(seed: int) -> list:
        return generate_batch(runner, [[5]] * 4, GenerationOptions(sample=True, seed=seed, max_new_tokens=12))
    assert run(1) == run(1) != run(2)
    assert len({found[0].tokens for found in run(1)}) == 4, "requests of a batch draw independently"


def test_processors_equal_hugging_face() -> None:
    torch = pytest.importorskip("torch")
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32) * 3
    for temperature, k, p in itertools.product((0.5, 2.0), (1, 7, 100), (0.05, 0.5, 0.95)):
        chain = Chain(GenerationOptions(sample=True, temperature=temperature, top_k=k, top_p=p))
        ours = chain.shaped(logits, Rows([Request(0, 9)] * 50, np.zeros((50, 0), np.int64)))
        theirs = torch.from_numpy(logits)
        for warper in (TemperatureLogitsWarper(temperature), TopKLogitsWarper(k), TopPLogitsWarper(p)):
            theirs = warper(None, theirs)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("options,message", [
    ({"beams": 0}, "beams is 0; it must be 1 to 64"),
    ({"n_best": 3, "beams": 2}, "n_best is 3, more than the 2 beams; ask for at least as many beams"),
    ({"top_p": 0.9}, "top_p=0.9 does nothing without sampling; add sample=True (--sample) or drop top_p"),
    ({"sample": True, "beams": 4}, "sample and beams=4 contradict each other"),
    ({"sample": True, "temperature": -0.5}, "temperature is -0.5; it must be 0 to 100"),
    ({"sample": True, "top_p": float("nan")}, "top_p is nan; it must be above 0 to 1"),
    ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens 5 is above max_new_tokens 4"),
    ({"length_formula": "sum"}, "length_formula is 'sum'; it must be 'wu' or 'average'"),
])
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions(**options)
    assert message in str(error.value)


@pytest.mark.parametrize("arguments,message", [
    ({"limits": [-1, 2]}, "request 0: its limit is -1 new tokens; it must be 0 or more"),
    ({"limits": [3]}, "2 inputs, but 1 seeds, streams or limits; give one for each"),
    ({"prompts": [[5]]}, "either sources (encoder-decoder) or prompts (decoder-only), not both or neither"),
    ({"options": GenerationOptions(banned=(99,))}, "banned holds token id 99; ids run from 0 to 7"),
    ({"options": GenerationOptions(banned=(0, 1, 2, 4, 5, 6, 7))}, "7 of 8 tokens are banned"),
    ({"sources": [[5], []]}, "input 1 has no tokens"),
])
def test_requests_that_cannot_be(arguments: dict, message: str) -> None:
    options = arguments.pop("options", GenerationOptions())
    with pytest.raises(UsageError) as error:
        generate_batch(FakeRunner(), arguments.pop("sources", [[5], [6]]), options, **arguments)
    assert message in str(error.value)


def test_a_prompt_that_fills_the_window() -> None:
    with pytest.raises(WindowError, match="a prompt of 66 tokens leaves no room in the model's window of 64"):
        generate_batch(FakeRunner(), None, GenerationOptions(), prompts=[[5] * 66])
    assert len(generate_batch(FakeRunner(), None, GenerationOptions(), prompts=[[5], [5, 6]])) == 2


def test_seeds_of_any_size_and_streams_do_not_overlap() -> None:
    options = GenerationOptions(sample=True, min_new_tokens=12, max_new_tokens=12)
    def run(seed: int, stream: int) -> tuple:
        return generate_batch(FakeRunner(30, 0.5), [[5]], options, seeds=[seed], streams=[stream])[0][0].tokens
    drawn = {run(seed, stream) for seed in (0, 1, 2**63 + 2, 2**63 + 3, 2**64, 2**70) for stream in (0, 1, 2)}
    assert len(drawn) == 18
