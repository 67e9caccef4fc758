"""Programs and weights that are wrong: the native engine says what of them, and nothing that comes in ends the process."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.both import weights
from tests.variants import DECODERS, ENCODER_DECODERS, ENCODERS, TRANSFORMERS
from weft import _native
from weft.backends.lowering import Line, lower
from weft.errors import UsageError
from weft.spec import config as c

Programs = dict[str, list[Line]]
Weights = dict[str, tuple[str, np.ndarray]]
REFUSED = (ValueError, IndexError, MemoryError)
KEPT = ("norm_of_heads", "relative_bias", "window", "small_embedding", "transformed_head", "local_and_global", "dynamic",
        "parallel_gated", "alibi_of_odd_heads", "types", "first", "vector", "no_bias_norm")
"""Variants that together have every operation."""


def lowered(config: c.ModelConfig) -> tuple[Programs, Weights]:
    stored = weights(config)
    found = lower(config, {name: tensor.bits for name, tensor in stored.items() if name.endswith("relative_bias.weight")})
    arrays = {name: ("F32", tensor.bits) for name, tensor in stored.items() if not name.endswith("relative_bias.weight")}
    return found.programs, arrays | {name: ("F32", constant.array()) for name, constant in found.constants.items()}


def load(programs: Programs, arrays: Weights, precision: str = "float32", threads: int = 1) -> Any:
    return _native.load(list(programs.items()), arrays, precision, threads)


def changed(programs: Programs, program: str, kind: str, change: Callable[[Line], Line | None]) -> Programs:
    """The first line of that kind changed; left out for None."""
    lines = list(programs[program])
    index = next(i for i, line in enumerate(lines) if line[0] == kind)
    new = change(lines[index])
    lines[index : index + 1] = [] if new is None else [new]
    return programs | {program: lines}


def told(**settings: Any) -> Callable[[Line], Line]:
    return lambda line: (*line[:4], line[4] | settings)


def reading(*buffers: str) -> Callable[[Line], Line]:
    return lambda line: (line[0], list(buffers), *line[2:])


def without(name: str) -> Callable[[Line], Line]:
    return lambda line: (*line[:4], {key: value for key, value in line[4].items() if key != name})


def weighing(*names: str) -> Callable[[Line], Line]:
    return lambda line: (*line[:2], list(names), *line[3:])


WRONG: dict[str, tuple[str, str, Callable[[Line], Line | None], str]] = {
    "operation": ("decoder", "norm", lambda line: ("nrom", *line[1:]), "operation nrom of program decoder: it is not known"),
    "setting": ("decoder", "norm", told(epsilonn=1.0), "operation norm of program decoder: setting epsilonn is not known"),
    "missing": ("decoder", "norm", without("epsilon"), "setting epsilon is missing"),
    "number": ("decoder", "norm", told(epsilon="small"), "setting epsilon must be a number"),
    "word": ("decoder", "norm", told(norm=2), "setting norm must be a word"),
    "choice": ("decoder", "norm", told(norm="batch"), "batch is not known"),
    "range": ("decoder", "norm", told(groups=0), "setting groups must be a whole number from 1 to 16"),
    "reach": ("decoder", "norm", told(start=1), "it reaches past its buffer"),
    "activation": ("decoder", "linear", told(activation="mish"), "activation mish is not known"),
    "unwritten": ("decoder", "linear", reading("decoder.nothing", "decoder.qkv"), "nothing has written buffer decoder.nothing"),
    "other width": ("decoder", "linear", reading("x", "x"), "buffer x has width 16, not 48"),
    "in place": ("memory", "linear", reading("memory.kv", "memory.kv"), "nothing has written buffer memory.kv"),
    "buffers": ("decoder", "linear", reading("x"), "1 buffers instead of 2"),
    "no weight": ("decoder", "norm", weighing("decoder.nothing.weight"), "weight decoder.nothing.weight is missing"),
    "no weights": ("decoder", "linear", weighing(), "operation linear of program decoder: 0 weights"),
    "some biases": ("decoder", "linear", weighing("head.weight"), "a bias for some weights only"),
    "a vector": ("decoder", "embed", weighing("head.bias"), "weight head.bias is no matrix"),
    "another width": ("decoder", "norm", weighing("head.bias"), "weight head.bias has 40 numbers, not 16"),
    "biases": ("decoder", "norm", lambda line: (*line[:3], ["head.bias"], line[4]), "it takes no biases"),
    "heads": ("decoder", "attend", told(key_value_heads=3), "heads must be a multiple of key_value_heads"),
    "sizes": ("decoder", "attend", told(size=5), "buffer decoder.qkv has width 48, not 60"),
    "over": ("decoder", "attend", told(over="nothing"), "nothing is not known"),
    "elsewhere": ("decoder", "attend", told(over="encoder"), "an encoder attends over itself alone"),
    "gap": ("decoder", "attend", told(layer=3), "layer 3 of a cache of 0"),
    "not remembered": ("memory", "remember", lambda line: None, "layer 1 of a cache of 0"),
    "bias": ("decoder", "attend", told(bias="relative"), "a bias needs a weight, and no bias none"),
    "offset": ("encoder", "add_rows", told(offset=48), "a table of 48 rows, but an offset of 48"),
    "types": ("decoder", "add_rows", told(by_type=1), "only an encoder's tokens are of types"),
    "unused": ("decoder", "add_rows", lambda line: None, "no operation uses decoder.sinusoids"),
    "no hidden states": ("decoder", "embed", lambda line: None, "nothing has written buffer x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_named(case: str) -> None:
    program, kind, change, message = WRONG[case]
    programs, arrays = lowered(ENCODER_DECODERS["untied"])
    with pytest.raises(ValueError) as error:
        load(changed(programs, program, kind, change), arrays)
    assert message in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda p: {"encoder": p["encoder"]}, "no operation uses"),
    (lambda p: {"decoder": p["decoder"]}, "operation attend of program decoder: layer 0 of a cache of 0"),
    (lambda p: {"memory": p["memory"]} | p, "program memory stands before what it reads"),
    (lambda p: {"head": p["head"]} | p, "program head stands before what it reads"),
    (lambda p: p | {"lungs": []}, "program lungs is not known"),
    (lambda p: p | {"memory": p["head"]}, "operation output of program memory: it cannot stand there"),
    (lambda p: p | {"head": p["decoder"]}, "operation embed of program head: it cannot stand there"),
])
def test_programs_that_do_not_fit(change: Callable[[Programs], Programs], message: str) -> None:
    programs, arrays = lowered(ENCODER_DECODERS["untied"])
    with pytest.raises(ValueError) as error:
        load(change(programs), arrays)
    assert message in str(error.value)


def test_a_program_that_comes_twice() -> None:
    programs, arrays = lowered(DECODERS["decoder_only"])
    with pytest.raises(ValueError, match="program decoder comes twice"):
        _native.load([*programs.items(), *programs.items()], arrays, "float32", 1)


@pytest.mark.parametrize(("array", "kind", "message"), [
    (np.zeros((48, 16), np.float64), "F32", "has an array of another type than F32"),
    (np.zeros((48, 16), np.float32), "BF16", "has an array of another type than BF16"),
    (np.zeros((48, 16), np.float32), "I8", "is of kind I8"),
    (np.zeros((0, 16), np.float32), "F32", "has 16 numbers, not 0"),
    (np.zeros((16,), np.float32), "F32", "is no matrix"),
    (np.zeros((16, 16, 1), np.float32), "F32", "is no matrix"),
    (np.zeros((16, 15), np.float32), "F32", "is no matrix that stands with"),
])
def test_arrays_that_are_no_such_weights(array: np.ndarray, kind: str, message: str) -> None:
    programs, arrays = lowered(ENCODER_DECODERS["untied"])
    with pytest.raises(ValueError, match=message):
        load(programs, arrays | {"decoder.blocks.0.self_attention.key.weight": (kind, array)})


@pytest.mark.parametrize(("precision", "threads", "message"), [
    ("float64", 1, "precision float64 is not known; use float32, bfloat16 or int8"),
    ("int8", 0, "0 threads; use 1 to 256"), ("int8", 257, "257 threads; use 1 to 256"), ("int8", -1, "-1 threads"),
])
def test_precisions_and_threads(precision: str, threads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(*lowered(DECODERS["decoder_only"]), precision, threads)


def test_an_instruction_set_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_ISA", "mmx")
    with pytest.raises(RuntimeError, match="WEFT_ISA=mmx: this machine has no such kernels; use portable, avx2 or avx512"):
        load(*lowered(DECODERS["decoder_only"]))


def test_inputs_that_8_bits_cannot_add_up() -> None:
    wide = {"decoder": [("embed", ["x"], ["w"], [], {"scale": 1.0}), ("hidden", ["x"], [], [], {})]}
    arrays = {"w": ("F32", np.ones((2, 70_000), np.float32))}
    load(wide, arrays)
    with pytest.raises(ValueError, match="weight w has more than 65536 inputs, too many for int8"):
        load(wide, arrays, "int8")


def test_a_part_that_lowering_does_not_know() -> None:
    class Rings:
        type = "rings"

    config = DECODERS["decoder_only"]
    object.__setattr__(config.decoder, "position", c.Rotary(scaling=Rings()))  # type: ignore[arg-type]
    try:
        with pytest.raises(UsageError, match="does not know rings scaling of rotary positions"):
            lower(config, {})
    finally:
        object.__setattr__(config.decoder, "position", c.Sinusoidal())


# ---------------------------------------------------------------- anything at all

NUMBERS = st.one_of(st.integers(-3, 70), st.sampled_from([1 << 20, 1 << 24, 1 << 30, 1 << 62, -1 << 62]),
                    st.floats(allow_nan=True, allow_infinity=True), st.text(max_size=6),
                    st.sampled_from(["relu", "rms", "layer", "own", "cross", "encoder", "relative", "alibi", "none"]))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[c.ModelConfig, list[tuple[str, list[Line]]], Weights]:
    config = TRANSFORMERS[draw(st.sampled_from(KEPT))]
    programs, arrays = lowered(config)
    found = {name: list(lines) for name, lines in programs.items()}
    buffers = sorted({buffer for lines in found.values() for line in lines for buffer in line[1]} | {"unknown"})
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(found)))
        lines = found[name]
        if not lines:
            continue
        index = draw(st.integers(0, len(lines) - 1))
        kind, given_buffers, names, biases, settings = lines[index]
        match draw(st.integers(0, 9)):
            case 0:
                del lines[index]
            case 1:
                lines.insert(draw(st.integers(0, len(lines))), lines[index])
            case 2:
                found[draw(st.sampled_from(sorted(found)))].append(lines[index])
            case 3 if given_buffers:
                at = draw(st.integers(0, len(given_buffers) - 1))
                lines[index] = (kind, [draw(st.sampled_from(buffers)) if i == at else b for i, b in enumerate(given_buffers)],
                                names, biases, settings)
            case 4 | 5 if settings:
                key = draw(st.sampled_from(sorted(settings)))
                lines[index] = (kind, given_buffers, names, biases, settings | {key: draw(NUMBERS)})
            case 6:
                other = draw(st.sampled_from(sorted(arrays)))
                lines[index] = (kind, given_buffers, [*names[:-1], other], biases, settings)
            case 7:
                name = draw(st.sampled_from(sorted(arrays)))
                shape = draw(st.lists(st.sampled_from([0, 1, 2, 5, 16, 48]), max_size=3))
                arrays[name] = ("F32", np.ones(shape, np.float32))
            case 8:
                name = draw(st.sampled_from(sorted(arrays)))
                value = draw(st.sampled_from([math.nan, math.inf, -math.inf, 3e38, 0.0]))
                arrays[name] = ("F32", np.full_like(arrays[name][1], value))
            case _:
                del arrays[draw(st.sampled_from(sorted(arrays)))]
    order = draw(st.permutations(sorted(found))) if draw(st.integers(0, 9)) == 0 else list(found)
    return config, [(name, found[name]) for name in order], arrays


@settings(max_examples=400, deadline=None)
@given(mutated(), st.sampled_from(["float32", "bfloat16", "int8"]), st.sampled_from(["portable", "avx2", "avx512", ""]))
def test_no_program_ends_the_process(case: tuple[c.ModelConfig, list[tuple[str, list[Line]]], Weights], precision: str,
                                     isa: str) -> None:
    """Either it is refused, or it runs to some end."""
    config, programs, arrays = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEFT_ISA", isa) if isa else None
        try:
            model = _native.load(programs, arrays, precision, 2)
        except (*REFUSED, RuntimeError):
            return
    session = _native.Session(model)
    with suppress(*REFUSED):
        use(session, config)
    assert isinstance(model.describe(), list)


def use(session: Any, config: c.ModelConfig) -> None:
    ids, counts, none = np.arange(5, 23, dtype=np.int32), np.array([7, 1, 10], np.int32), np.empty(0, np.int32)
    points = ["encoder.blocks.0.self_attention.weights", "decoder.blocks.0.cross_attention.weights", "decoder.hidden"]
    memory = None
    if config.encoder is not None:
        session.encode(ids, counts, none, points)
        session.hidden(), session.seen()
    if config.kind == "encoder-decoder":
        memory = session.remember()
    if config.decoder is not None:
        session.start(3, memory)
        session.spread(2)
        session.feed(np.concatenate([ids, ids]), counts.repeat(2), True, points)
        session.gather(np.array([0, 1, 1, 0, 4], np.int32))
        session.feed(np.full(5, 6, np.int32), np.ones(5, np.int32), False, points)
        session.seen(), session.rows()
        session.drop(1)
    session.logits()
    session.best(3, [[1, 2, 900]])


def test_the_variants_have_every_operation() -> None:
    kinds = {line[0] for name in KEPT for lines in lowered(TRANSFORMERS[name])[0].values() for line in lines}
    everything = {line[0] for config in TRANSFORMERS.values() for lines in lowered(config)[0].values() for line in lines}
    assert kinds == everything
    assert {ENCODERS.get(name, TRANSFORMERS[name]).kind for name in KEPT} == {"encoder-decoder", "decoder-only", "encoder-only"}
