"""The engine's own interface in wrong hands: any order of calls, any numbers, many threads, a key pressed, a fork."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.both import native, rows
from tests.variants import DECODERS, ENCODER_DECODERS, ENCODERS
from weft import _native
from weft.spec import config as c

NONE, ROWS = np.empty(0, np.int32), np.ones((2, 16), np.float32)
TRANSLATOR, WRITER, READER = ENCODER_DECODERS["untied"], DECODERS["parallel_gated"], ENCODERS["masked"]


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def session(config: c.ModelConfig, precision: str = "fp32", threads: int = 1) -> Any:
    return _native.Session(native(config, precision, threads).model)


def memory(config: c.ModelConfig = TRANSLATOR, texts: int = 2, precision: str = "fp32") -> Any:
    made = session(config, precision)
    made.encode(ids(*[5, 6, 7] * texts), ids(*[3] * texts), NONE, [])
    return made.remember()


def encode(made: Any, tokens: np.ndarray, counts: np.ndarray, types: np.ndarray = NONE) -> None:
    made.encode(tokens, counts, types, [])


def feed(made: Any, tokens: np.ndarray, counts: np.ndarray) -> None:
    made.start(len(counts), None)
    made.feed(tokens, counts, True, [])


Call = tuple[c.ModelConfig, Callable[[Any], Any], str]
CALLS: dict[str, Call] = {
    "remember at once": (TRANSLATOR, lambda s: s.remember(), "only texts that were encoded just now can be remembered"),
    "remember a decoder": (WRITER, lambda s: (feed(s, ids(5), ids(1)), s.remember()), "encoded just now"),
    "remember twice": (TRANSLATOR, lambda s: (encode(s, ids(5), ids(1)), s.remember(), s.remember()), "encoded just now"),
    "remember what was put": (TRANSLATOR, lambda s: (encode(s, ids(5), ids(1)), s.put(ROWS), s.remember()), "encoded just now"),
    "encode": (WRITER, lambda s: encode(s, ids(5), ids(1)), "the model has no encoder"),
    "start": (READER, lambda s: s.start(1, None), "the model has no decoder"),
    "feed before start": (WRITER, lambda s: s.feed(ids(5), ids(1), True, []), "a count for each row is needed"),
    "memory missing": (TRANSLATOR, lambda s: s.start(1, None), "a memory is for encoder-decoders, and needed there"),
    "memory of another batch": (TRANSLATOR, lambda s: s.start(3, memory()), "a memory of another batch"),
    "memory of another model": (TRANSLATOR, lambda s: s.start(2, memory(ENCODER_DECODERS["grouped"])), "a memory of another"),
    "memory of another precision": (TRANSLATOR, lambda s: s.start(2, memory(precision="int8")), "a memory of another model"),
    "too few tokens": (WRITER, lambda s: feed(s, ids(5), ids(1, 1)), "1 tokens, but counts of 2"),
    "negative count": (WRITER, lambda s: feed(s, ids(5), ids(2, -1)), "a text of -1 tokens"),
    "counts that overflow": (READER, lambda s: encode(s, ids(5), ids(*[2**31 - 1] * 4)), "1 tokens, but counts of 8589934588"),
    "id above": (READER, lambda s: encode(s, ids(40), ids(1)), "token id 40; they run from 0 to 39"),
    "id below": (WRITER, lambda s: feed(s, ids(-1), ids(1)), "token id -1; they run from 0 to 39"),
    "type": (ENCODERS["types"], lambda s: encode(s, ids(5), ids(1), ids(3)), "type 3; they run from 0 to 2"),
    "types": (ENCODERS["types"], lambda s: encode(s, ids(5), ids(1), ids(0, 0)), "a type for each token is needed"),
    "too long": (READER, lambda s: encode(s, ids(*[5] * 49), ids(49)), "a text of 49 tokens; the model's positions end at 48"),
    "copies": (WRITER, lambda s: s.spread(0), "0 copies"),
    "many rows": (WRITER, lambda s: (s.start(2000, None), s.spread(1000)), "2000000 rows; at most 1048575"),
    "many sources": (WRITER, lambda s: s.start(2**21, None), "2097152 sources"),
    "row": (WRITER, lambda s: (s.start(2, None), s.gather(ids(0, 2))), "row 2"),
    "row below": (WRITER, lambda s: (s.start(2, None), s.gather(ids(-1))), "row -1"),
    "drop": (WRITER, lambda s: (feed(s, ids(5, 6), ids(2)), s.drop(3)), "cannot forget 3 of 2 tokens"),
    "drop below": (WRITER, lambda s: (s.start(1, None), s.drop(-1)), "cannot forget -1 of 0 tokens"),
    "best of none": (READER, lambda s: s.best(0, []), "0 of 40 tokens"),
    "best of too many": (READER, lambda s: s.best(41, []), "41 of 40 tokens"),
    "banned of some rows": (READER, lambda s: (encode(s, ids(5, 5, 5), ids(3)), s.best(1, [[2], [3]])), "or one a row"),
    "choose": (READER, lambda s: (encode(s, ids(5, 5), ids(2)), s.choose(ids(1, 0))), "token 0 of those read last"),
    "choose beyond": (READER, lambda s: (encode(s, ids(5, 5), ids(2)), s.choose(ids(2))), "token 2 of those read last"),
    "select": (READER, lambda s: s.select(ROWS, 17), "17 tokens of a row"),
    "join": (TRANSLATOR, lambda s: (s.start(2, memory()), s.join(3, memory())), "a memory of another batch"),
    "join another": (TRANSLATOR, lambda s: s.join(2, memory(ENCODER_DECODERS["grouped"])), "a memory of another model"),
    "banned": (READER, lambda s: s.best(1, [[2, -4]]), "token id -4"),
    "put": (READER, lambda s: s.put(np.ones((2, 15), np.float32)), "rows of width 15"),
    "vectors": (ENCODERS["vector"], lambda s: s.logits(), "the model has no output layer"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_calls_say_so_and_leave_the_session_usable(case: str) -> None:
    config, call, message = CALLS[case]
    made = session(config)
    with pytest.raises((ValueError, IndexError)) as error:
        call(made)
    assert message in str(error.value)
    np.testing.assert_array_equal(answer(config, made), answer(config, session(config)))


def answer(config: c.ModelConfig, made: Any) -> np.ndarray:
    """Hidden states of some texts."""
    if config.decoder is None:
        made.encode(ids(5, 6, 7), ids(2, 1), NONE, [])
    else:
        made.start(2, memory(config) if config.encoder else None)
        made.feed(ids(5, 6, 7), ids(2, 1), True, [])
    return made.hidden()


@pytest.mark.parametrize("wrong", [
    np.array([5.5], np.float64), np.array([5], np.int64), np.array([[5]], np.int32), np.array([True]), np.array(["5"]),
    np.arange(8, dtype=np.int32)[::2], [5], None,
])
def test_arrays_of_another_kind_are_refused(wrong: Any) -> None:
    made = session(READER)
    with pytest.raises(TypeError):
        made.encode(wrong, ids(1), NONE, [])
    with pytest.raises(TypeError):
        made.gather(wrong)


def test_a_call_beyond_the_machines_memory_is_refused() -> None:
    """Buffers for a million tokens of a model as wide as this would fill it."""
    width = 1 << 20
    lines = [("embed", ["x"], ["w"], [], {"scale": 1.0}), ("hidden", ["x"], [], [], {})]
    made = _native.Session(_native.load([("encoder", lines)], {"w": ("F32", np.ones((2, width), np.float32))}, "float32", 1))
    with pytest.raises(ValueError, match=r"the buffers of so many tokens need 4194300 MB, more than half of this machine's"):
        encode(made, np.zeros((1 << 20) - 1, np.int32), ids((1 << 20) - 1))
    encode(made, ids(1), ids(1))
    assert made.hidden().shape == (1, width)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_weights_that_are_no_numbers(precision: str, value: float) -> None:
    """They give answers that are no numbers, or no sense, but ids that are ids."""
    arrays = {"w": ("F32", np.full((9, 24), value, np.float32)), "h": ("F32", np.full((9, 24), value, np.float32))}
    programs = [("encoder", [("embed", ["x"], ["w"], [], {"scale": 1.0}), ("hidden", ["x"], [], [], {})]),
                ("head", [("output", ["x"], ["h"], [], {"soft_cap": 0.0, "wide": 0})])]
    made = _native.Session(_native.load(programs, arrays, precision, 1))
    made.encode(ids(1, 2, 3), ids(3), NONE, [])
    assert made.logits().shape == (3, 9)
    tokens, _ = made.best(4, [[0]])
    assert all(sorted(set(row)) == sorted(row) and 0 <= min(row) <= max(row) < 9 for row in tokens.tolist())


INTEGERS = st.one_of(st.integers(-2, 12), st.sampled_from([39, 40, 47, 48, 2**20, 2**31 - 1, -2**31]))
FEW = st.one_of(st.integers(-1, 3), st.sampled_from([2**20, 2**31 - 1]))  # else rows would fill the memory of the tests
CALL = st.one_of(
    st.tuples(st.just("encode"), st.lists(st.integers(-1, 41), max_size=20), st.lists(INTEGERS, max_size=4)),
    st.tuples(st.just("encode_well"), st.lists(st.lists(st.integers(0, 39), max_size=20), max_size=4)),
    st.tuples(st.just("remember")), st.tuples(st.just("start"), FEW), st.tuples(st.just("start_well")),
    st.tuples(st.just("spread"), FEW),
    st.tuples(st.just("feed"), st.lists(st.integers(-1, 41), max_size=20), st.lists(INTEGERS, max_size=8)),
    st.tuples(st.just("feed_well"), st.integers(0, 19), st.booleans()),
    st.tuples(st.just("gather"), st.lists(st.integers(-1, 6), max_size=9)),
    st.tuples(st.just("drop"), INTEGERS), st.tuples(st.just("hidden")), st.tuples(st.just("put"), st.integers(0, 20)),
    st.tuples(st.just("logits")), st.tuples(st.just("best"), INTEGERS, st.lists(st.lists(INTEGERS, max_size=4), max_size=6)),
    st.tuples(st.just("choose"), st.lists(st.integers(-1, 22), max_size=9)), st.tuples(st.just("join"), FEW),
    st.tuples(st.just("select"), st.integers(0, 9), st.integers(0, 600), INTEGERS),
    st.tuples(st.just("seen")), st.tuples(st.just("rows")))
MODELS = [native(config, precision, 2).model for config, precision in
          ((TRANSLATOR, "fp32"), (TRANSLATOR, "int8"), (WRITER, "bf16"), (READER, "fp32"))]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MODELS), st.lists(CALL, max_size=16))
def test_any_calls_in_any_order(model: Any, calls: list[tuple[Any, ...]]) -> None:
    made, remembered, size = _native.Session(model), None, 0
    points = ["decoder.blocks.0.self_attention.weights", "encoder.blocks.0.hidden"]
    for name, *given_values in calls:
        with suppress(ValueError, IndexError, MemoryError):
            match name:
                case "encode":
                    made.encode(ids(*given_values[0]), ids(*given_values[1]), NONE, points)
                case "encode_well":
                    texts = given_values[0]
                    made.encode(ids(*(token for text in texts for token in text)), ids(*map(len, texts)), NONE, points)
                    remembered, size = made.remember(), len(texts)
                case "start_well":
                    made.start(size, remembered)
                case "start":
                    made.start(given_values[0], remembered)
                case "feed":
                    made.feed(ids(*given_values[0]), ids(*given_values[1]), True, points)
                case "feed_well":
                    many, whole = given_values
                    count = made.rows()
                    made.feed(ids(*[7] * many * count), ids(*[many] * count), whole, points)
                case "gather":
                    made.gather(ids(*given_values[0]))
                case "put":
                    made.put(np.ones((given_values[0], 16), np.float32))
                case "choose":
                    made.choose(ids(*given_values[0]))
                case "select":
                    made.select(np.ones((given_values[0], given_values[1]), np.float32), given_values[2])
                case "join":
                    made.join(given_values[0], remembered)
                case _:
                    getattr(made, name)(*given_values)
    assert made.hidden().shape[1] == 16


@pytest.mark.parametrize("limited", [False, True])
def test_the_likeliest_tokens_with_all_logits(limited: bool) -> None:
    made, k, banned = session(TRANSLATOR, threads=2), 5, [[7, 9]]
    made.start(2, memory())
    if limited:
        made.limit([[3, 5, 7, 11], [2, 9, 30]])
    made.feed(ids(5, 6), ids(1, 1), True, [])
    *both, logits = made.best(k, banned, True)
    for found, expected in zip((*both, logits), (*made.best(k, banned), made.logits()), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_was_seen_is_told_once() -> None:
    made = session(TRANSLATOR)
    made.start(2, memory())
    made.feed(ids(5, 6, 7), ids(2, 1), True, ["decoder.hidden", "decoder.blocks.0.self_attention.weights"])
    values, places = made.seen()
    assert [(name, shape) for name, _, shape in places] == [
        ("decoder.blocks.0.self_attention.weights", [3, places[0][2][1], 1, 2]), ("decoder.hidden", [3, 1, 16])]
    assert len(values) == places[1][1] + 48
    assert made.seen()[1] == []


def test_memories_are_joined() -> None:
    """One with another, and with itself."""
    both, made = memory(texts=1), session(TRANSLATOR)
    both.add(memory(texts=2))
    both.add(both)
    assert len(both) == 6
    made.start(6, both)
    made.feed(ids(*[2] * 6), ids(*[1] * 6), True, [])
    hidden = made.hidden()
    np.testing.assert_array_equal(hidden, hidden[:1].repeat(6, 0))


def test_threads_that_share_a_model_or_a_session() -> None:
    runner = native(TRANSLATOR, threads=2)
    given_texts, want = rows(seed=5), None
    shared, failures = _native.Session(runner.model), []

    def work() -> None:
        try:
            own = type(runner)(runner.config, runner.model, runner.points)
            for _ in range(15):
                np.testing.assert_array_equal(own.logits(given_texts, given_texts), want)
                with suppress(ValueError, IndexError):
                    shared.start(2, memory_of_two)
                    shared.feed(ids(5, 6), ids(1, 1), True, ["decoder.hidden"])
                    shared.gather(ids(1, 0, 1))
                    shared.seen(), shared.rows(), shared.logits(), shared.drop(1)
        except BaseException as error:
            failures.append(error)

    memory_of_two, want = memory(), runner.logits(given_texts, given_texts)
    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not failures and not any(worker.is_alive() for worker in workers)


def alone(code: str) -> str:
    """What a Python of its own prints."""
    setup = """
        import numpy as np, os, signal, sys, threading, time
        from tests.backends.both import native, rows
        from tests.backends.test_native_session import TRANSLATOR, WRITER, READER
        """
    code = textwrap.dedent(setup) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_that_is_pressed_while_it_computes() -> None:
    """The call ends, KeyboardInterrupt follows, and the runner goes on."""
    assert alone("""
        runner, texts = native(READER, threads=2), rows((40,) * 400)
        want = runner.score(texts)
        for delay in (0.001, 0.01, 0.05):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                for _ in range(10_000):
                    runner.score(texts)
            except KeyboardInterrupt:
                print("stopped", np.array_equal(runner.score(texts), want))
        """) == "stopped True\n" * 3


def test_a_fork_computes_and_ends() -> None:
    """The threads of the engine stay behind; the caller's does their work."""
    assert alone("""
        runner, texts = native(READER, threads=3), rows((40,) * 50)
        want = runner.score(texts)
        child = os.fork()
        if not child:
            same = np.array_equal(runner.score(texts), want)
            del runner
            print("child", same)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print("parent", np.array_equal(runner.score(texts), want))
        """) == "child True\nparent True\n"
