"""Continuous batching: whatever joins and leaves when, every job gives the events that it gives alone, bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import bundles
from tests.decode.fake import FakeRunner
from weft.decode.batcher import Batcher, Job, Limits
from weft.decode.loop import generate
from weft.errors import UsageError, WindowError
from weft.model import Model, load
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent

WORDS = st.integers(5, 40)
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with logprobs": {"logprobs": 3, "min_new_tokens": 2},
    "rules": {"no_repeat_ngram": 2, "repetition_penalty": 1.3},
    "bans": {"banned": (7, 9), "eos": (11,)},
    "sampling": {"sample": True, "temperature": 1.2, "top_k": 9, "seed": 5},
    "draws": {"sample": True, "n": 3, "seed": 2},
    "best of": {"sample": True, "n": 1, "best_of": 2},
    "beams": {"beams": 4, "n_best": 2, "logprobs": 2},
    "beams of hf": {"beams": 3, "beam_scores": "raw", "early_stopping": "heuristic", "no_repeat_ngram": 2},
    "diverse": {"beams": 4, "beam_groups": 2, "diversity": 0.7},
    "constrained": {"beams": 3, "forced_words": ((17, 23),), "min_new_tokens": 0},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 3},
    "lookup": {"lookup": 2},
}
MODELS = [("marian", "fp32"), ("t5", "bf16"), ("marian", "int8"), ("gpt2", "fp32"), ("llama", "bf16"), ("llama", "int8")]


@cache
def plain(name: str, precision: str) -> Model:
    return model(name, precision)


def model(name: str, precision: str, **changes: Any) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        opened = load(bundles.bundle(Path(folder) / name, name, **changes), backend="native", precision=precision)
        assert opened.runner
        return opened


@dataclass
class Given:
    """A job to be: when it comes, and after how many of its events it is cancelled, if at all."""

    inputs: list[list[int]]
    options: GenerationOptions
    limits: list[int]
    at: int = 0
    cancelled_after: int | None = None
    heard: list[Any] = field(default_factory=list)
    job: Job | None = None

    def arguments(self, prompted: bool) -> dict[str, Any]:
        return {"sources": None, "prompts": self.inputs} if prompted else {"sources": self.inputs}

    def tell(self, item: GenerationEvent | Exception | None) -> None:
        assert not self.heard or isinstance(self.heard[-1], GenerationEvent), "told after its end"
        self.heard.append(item)
        if self.job is not None and len(self.heard) == self.cancelled_after:
            self.job.cancelled = True


@st.composite
def jobs(draw: st.DrawFn) -> Given:
    inputs = draw(st.lists(st.lists(WORDS, min_size=1, max_size=25), min_size=1, max_size=2))
    options = GenerationOptions(**OPTIONS[draw(st.sampled_from(sorted(OPTIONS)))])
    limits = draw(st.lists(st.integers(3, 12), min_size=len(inputs), max_size=len(inputs)))
    return Given(inputs, options, limits, draw(st.integers(0, 12)), draw(st.none() | st.none() | st.integers(1, 5)))


def run(batcher: Batcher, given: Sequence[Given], prompted: bool) -> None:
    for number in range(1000):
        for one in given:
            if one.at == number:
                one.job = batcher.job(options=one.options, tell=one.tell, limits=one.limits, **one.arguments(prompted))
                batcher.waiting.append(one.job)
        if number > 12 and not batcher.is_busy:
            return
        batcher.step()
    raise AssertionError("it does not end")


def alone(runner: Any, one: Given, prompted: bool) -> list[GenerationEvent]:
    return list(generate(runner, options=one.options, limits=one.limits, **one.arguments(prompted)))


@pytest.mark.parametrize(("name", "precision"), MODELS)
@given(given=st.lists(jobs(), min_size=1, max_size=8), rows=st.integers(12, 40), chunk=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_as_alone_whoever_joins_and_leaves(name: str, precision: str, given: list[Given], rows: int, chunk: int) -> None:
    opened = plain(name, precision)
    runner, prompted = opened.runner, opened.config.encoder is None
    given = [Given(one.inputs, one.options, one.limits, one.at, one.cancelled_after) for one in given]
    run(Batcher(runner, Limits(rows=rows, chunk=chunk, positions=1000)), given, prompted)
    for one in given:
        wanted = [*alone(runner, one, prompted), None]
        if one.heard[-1] is None:  # also where it was cancelled in its last step
            assert one.heard == wanted
        else:
            assert isinstance(one.heard[-1], UsageError) and one.heard[:-1] == wanted[: len(one.heard) - 1]
            assert one.cancelled_after is not None and len(one.heard) > one.cancelled_after


# ---------------------------------------------------------------- who is taken when


def one(length: int, limit: int, at: int = 0, seed: int = 0, **options: Any) -> Given:
    ids = np.random.default_rng(seed).integers(5, 40, length).tolist()
    return Given([ids], GenerationOptions(eos=(), min_new_tokens=limit, **options), [limit], at)


def submit(batcher: Batcher, given: Given, prompted: bool) -> Given:
    given.job = batcher.job(options=given.options, tell=given.tell, limits=given.limits, **given.arguments(prompted))
    batcher.waiting.append(given.job)
    return given


def test_steps_are_taken_together() -> None:
    batcher = Batcher(model("gpt2", "fp32").runner, Limits())
    given = [submit(batcher, one(2, 8, seed=seed), True) for seed in range(6)]
    steps = 0
    while batcher.is_busy:
        batcher.step()
        steps += 1
    assert steps == 9  # one that reads prompts
    assert all(len(each.heard) == 10 for each in given)


def test_a_long_prompt_is_read_in_pieces_beside_the_tokens_of_others() -> None:
    opened = model("llama", "int8", max_position_embeddings=300)
    batcher = Batcher(opened.runner, Limits(chunk=20))
    short, long = one(3, 30), one(200, 5, seed=1)
    submit(batcher, short, True)
    batcher.step()
    submit(batcher, long, True)
    for step in range(10):
        assert len(short.heard) == step and not long.heard
        batcher.step()
    batcher.step()
    assert len(short.heard) == 11 and len(long.heard) == 1
    while batcher.is_busy:
        batcher.step()
    for each in (short, long):
        assert each.heard == [*alone(opened.runner, each, True), None]


def test_first_come_first_served_and_a_limit_on_rows() -> None:
    opened = model("marian", "fp32")
    batcher = Batcher(opened.runner, Limits(rows=4))
    wide, wider, small = one(4, 6), one(5, 6, beams=4), one(6, 6)
    for each in (wide, wider, small):
        submit(batcher, each, False)
    while not small.heard:
        batcher.step()
        assert sum(job.rows for job in batcher.running) <= 4
    assert wide.heard[-1] is None and wider.heard  # which had to wait for all of the first, and is not overtaken


def test_cache_positions_are_limited_too() -> None:
    batcher = Batcher(model("gpt2", "fp32").runner, Limits(positions=30))
    given = [submit(batcher, one(5, 10, seed=seed), True) for seed in range(3)]
    batcher.step()
    assert [job is each.job for job, each in zip(batcher.running, given, strict=False)] == [True, True]
    while batcher.is_busy:
        batcher.step()
    assert all(each.heard[-1] is None for each in given)


@pytest.mark.parametrize(("limits", "options", "said"), [
    (Limits(rows=3), {"beams": 4}, "may take 4 rows, and all requests together have 3; ask for fewer beams"),
    (Limits(rows=3), {"sample": True, "n": 4}, "may take 4 rows"),
    (Limits(rows=2), {"penalty_alpha": 0.5, "top_k": 3}, "may take 3 rows"),
    (Limits(positions=20), {}, "may take 25 positions, and all requests together have 20; ask for fewer new tokens"),
])
def test_what_would_never_fit_is_refused_at_once(limits: Limits, options: dict[str, Any], said: str) -> None:
    batcher = Batcher(model("gpt2", "fp32").runner, limits)
    with pytest.raises(UsageError, match=said):
        batcher.job(None, GenerationOptions(**options), lambda item: None, prompts=[[5] * 15], limits=[10])
    with pytest.raises(WindowError, match="do not fit the model's window"):
        batcher.job(None, GenerationOptions(max_new_tokens=1000), lambda item: None, prompts=[[5]])


@pytest.mark.parametrize("name", ["rows", "positions", "chunk"])
def test_limits_are_at_least_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 0; it must be 1 or more"):
        Limits(**{name: 0})


# ---------------------------------------------------------------- who ends early


def test_one_that_fails_hurts_nobody() -> None:
    opened = model("marian", "int8")

    def fails(request: Any, tokens: Sequence[int]) -> bool:
        if len(tokens) == 3:
            raise ValueError("a stop rule that fails")
        return False
    batcher = Batcher(opened.runner, Limits())
    good = [submit(batcher, one(length, 8, seed=length), False) for length in (3, 9)]
    failing, wrong, late = one(4, 8), Given([[5, 1 << 20]], GenerationOptions(), [4]), one(7, 8)
    failing.job = batcher.job(failing.inputs, failing.options, failing.tell, limits=failing.limits, stops=fails)
    batcher.waiting.append(failing.job)
    submit(batcher, wrong, False)
    submit(batcher, late, False)
    while batcher.is_busy:
        batcher.step()
    assert isinstance(failing.heard[-1], ValueError) and len(failing.heard) == 3
    assert len(wrong.heard) == 1 and "token id 1048576" in str(wrong.heard[0])
    for each in (*good, late):
        assert each.heard == [*alone(opened.runner, each, False), None]


def test_an_engine_that_fails_ends_those_who_were_taken_together_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = model("gpt2", "fp32")
    batcher = Batcher(opened.runner, Limits())
    given = [submit(batcher, one(4, 8, seed=seed), True) for seed in range(2)]
    apart = submit(batcher, one(4, 8, seed=2, lookup=2), True)
    for _ in range(3):
        batcher.step()
    session, real = batcher.together.session, batcher.together._read  # type: ignore[union-attr]

    def fails(*ids: Any) -> Any:
        monkeypatch.setattr(batcher.together, "_read", real)
        real(*ids)
        raise MemoryError("no more")
    monkeypatch.setattr(batcher.together, "_read", fails)
    batcher.step()
    assert all(isinstance(each.heard[-1], MemoryError) for each in given) and not session.rows()
    later = submit(batcher, one(4, 8, seed=3), True)
    while batcher.is_busy:
        batcher.step()
    for each in (apart, later):
        assert each.heard == [*alone(opened.runner, each, True), None]


def test_rows_are_let_go_at_the_end() -> None:
    batcher = Batcher(model("gpt2", "fp32").runner, Limits())
    cancelled = submit(batcher, one(4, 20, beams=3), True)
    for _ in range(4):
        batcher.step()
    assert batcher.together.session.rows() == 3  # type: ignore[union-attr]
    cancelled.job.cancelled = True  # type: ignore[union-attr]
    batcher.step()
    assert not batcher.is_busy and isinstance(cancelled.heard[-1], UsageError)
    assert batcher.together.session.rows() == 0  # type: ignore[union-attr]


def test_one_that_is_cancelled_while_it_waits_never_begins() -> None:
    batcher = Batcher(model("gpt2", "fp32").runner, Limits(rows=1))
    first, second = submit(batcher, one(4, 5), True), submit(batcher, one(4, 5), True)
    second.job.cancelled = True  # type: ignore[union-attr]
    while batcher.is_busy:
        batcher.step()
    assert len(second.heard) == 1 and "cancelled" in str(second.heard[0]) and len(first.heard) == 7


# ---------------------------------------------------------------- other runners


def test_runners_that_cannot_be_shared_take_turns() -> None:
    runner = FakeRunner()
    batcher = Batcher(runner, Limits())
    given = [submit(batcher, Given([[4, 5, seed]], GenerationOptions(beams=1 + seed % 3), [6], at=0), False)
             for seed in range(5)]
    assert batcher.together is None
    while batcher.is_busy:
        batcher.step()
    for each in given:
        assert each.heard == [*alone(copy(runner), each, False), None]
        assert isinstance(each.heard[-2], FinishedEvent)


def test_angles_that_go_by_the_length_of_a_text_are_not_shared() -> None:
    opened = model("llama", "fp32", max_position_embeddings=8,
                   rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0})
    batcher = Batcher(opened.runner, Limits(chunk=1))
    assert batcher.together is None
    given = [submit(batcher, one(3, 4, seed=seed), True) for seed in range(2)]
    while batcher.is_busy:
        batcher.step()
    for each in given:
        assert each.heard == [*alone(opened.runner, each, True), None]
