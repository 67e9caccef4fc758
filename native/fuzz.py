"""Programs, weights and calls at random, as nobody would write them: the engine refuses them or computes, and never dies.

    python native/fuzz.py --seconds 60 --seed 1      (native/sanitize runs it under the sanitizers)
    python native/fuzz.py --seed 1 --case 1234       one case again; build/fuzz-case names the one before a crash
"""

from __future__ import annotations

import os
import random
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.isas import machine_isas  # noqa: E402
from tests.variants import TRANSFORMERS  # noqa: E402
from weft import _native  # noqa: E402
from weft.backends.lowering import lower  # noqa: E402
from weft.spec.config import ModelConfig  # noqa: E402
from weft.spec.parameters import parameters  # noqa: E402

REFUSED = (ValueError, IndexError, TypeError, MemoryError, OverflowError)
CONFIGS = list(TRANSFORMERS.values())
WORDS = ["", "x", "none", "relu", "silu", "rms", "layer", "own", "cross", "encoder", "relative", "alibi", "alibi_rounded"]
NUMBERS = [-1, 0, 1, 2, 3, 4, 7, 15, 16, 17, 48, 63, 64, 65, 1 << 12, 1 << 16, 1 << 20, (1 << 24) - 1, 1 << 30, 1 << 40,
           -(1 << 62), 0.0, -1.0, 0.5, 1e-30, 1e30, float("inf"), float("nan")]
IDS = [-(1 << 31), -1, 0, 1, 2, 5, 16, 39, 40, 41, 1 << 20, (1 << 31) - 1]
KINDS = {"F32": np.float32, "F16": np.uint16, "BF16": np.uint16}

Programs = dict[str, list[list[Any]]]
Weights = dict[str, tuple[str, np.ndarray]]


def model_of(chance: random.Random, config: ModelConfig) -> tuple[Programs, Weights]:
    noise = np.random.default_rng(chance.randrange(1 << 30))
    shapes = {name: row.shape for name, row in parameters(config).items() if row.tie is None}
    arrays = {name: noise.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    lowered = lower(config, {name: array for name, array in arrays.items() if name.endswith("relative_bias.weight")})
    weights: Weights = {name: ("F32", array) for name, array in arrays.items() if not name.endswith("relative_bias.weight")}
    weights |= {name: ("F32", constant.array()) for name, constant in lowered.constants.items()}
    for name in chance.sample(sorted(weights), chance.choice([0, 0, 2, len(weights)])):
        weights[name] = ("BF16", (weights[name][1].view(np.uint32) >> 16).astype(np.uint16))
    return {name: [list(line) for line in lines] for name, lines in lowered.programs.items()}, weights


def change_program(chance: random.Random, programs: Programs, weights: Weights) -> None:
    lines = programs[chance.choice(sorted(programs))]
    if not lines:
        return
    place = chance.randrange(len(lines))
    line = lines[place] = [lines[place][0], *(list(part) for part in lines[place][1:4]), dict(lines[place][4])]
    what = chance.randrange(10)
    if what == 0:
        del lines[place]
    elif what == 1:
        lines.insert(chance.randrange(len(lines) + 1), line)
    elif what == 2:
        programs[chance.choice([*programs, "head", "memory", "decoder", "encoder"])] = lines
    elif what == 3:
        chance.choice(list(programs.values())).append(line)
    elif what == 4:
        line[0] = chance.choice([chance.choice(other)[0] for other in programs.values() if other] + ["", "unknown"])
    elif what == 5:
        buffers = [buffer for other in programs.values() for row in other for buffer in row[1]]
        line[1] = chance.choices([*buffers, "new"], k=chance.choice([len(line[1]), len(line[1]), 0, 1, 3]))
    elif what == 6:
        line[chance.choice([2, 3])] = chance.choices([*weights, "unknown", ""], k=chance.randrange(4))
    elif line[4]:
        key = chance.choice(sorted(line[4]))
        line[4][key] = chance.choice(WORDS if isinstance(line[4][key], str) or chance.random() < 0.1 else NUMBERS)


def change_weight(chance: random.Random, weights: Weights) -> None:
    name = chance.choice(sorted(weights))
    kind, array = weights[name]
    what = chance.randrange(8)
    if what == 0:
        del weights[name]
    elif what == 1:
        weights[chance.choice(["extra", name])] = (chance.choice(["F32", "F16", "BF16", "I8", ""]), array)
    elif what == 2:
        shape = [chance.choice([0, 1, 2, 5, 16, 17, 40, 64]) for _ in range(chance.randrange(4))]
        kind = chance.choice(sorted(KINDS))
        weights[name] = (kind, np.full(shape, 15_000, KINDS[kind]))
    elif what == 3:
        weights[name] = (kind, np.flip(array.T))
    elif what == 4:
        weights[name] = (kind, array.astype(chance.choice([np.float64, np.int8, np.int32, np.uint16, bool])))
    elif what == 5:  # at an address that its type would not have
        moved = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        weights[name] = (kind, moved)
    else:
        spoiled = array.copy()
        worst = [np.nan, np.inf, -np.inf, 3e38, 1e-45] if array.dtype == np.float32 else [0x7FC0, 0xFFFF, 0x7F80, 0xFF80, 1]
        if array.size and array.dtype in (np.float32, np.uint16):
            spoiled.reshape(-1)[chance.randrange(array.size) :: chance.choice([1, 7, 1000])] = chance.choice(worst)
        weights[name] = (kind, spoiled)


def ids(chance: random.Random, count: int, usual: int) -> np.ndarray:
    strange = chance.random() < 0.1
    chosen = [chance.choice(IDS) if strange and chance.random() < 0.3 else chance.randrange(usual) for _ in range(count)]
    return np.array(chosen, chance.choice([np.int32] * 30 + [np.int64, np.float32]))


def texts(chance: random.Random, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and the counts of them; now and then these do not fit."""
    counts = [chance.choice([0, 1, 1, 2, 3, 15, 16, 17, 40]) for _ in range(rows)]
    tokens = ids(chance, max(0, sum(counts) + chance.choice([0] * 20 + [1, -1])), 40)
    return tokens, np.array([-1 if chance.random() < 0.01 else count for count in counts], np.int32)


def call(chance: random.Random, session: Any, memories: list[Any]) -> Any:
    rows, names = chance.choice([1, 2, 3, 5, 9]), chance.choice([[], [], WATCHED])
    what = chance.choice(["encode", "remember", "start", "start", "join", "spread", "feed", "feed", "feed", "feed", "gather",
                          "drop", "hidden", "put", "logits", "best", "best", "select", "rows", "seen", "choose"])
    if what == "encode":
        tokens, counts = texts(chance, rows)
        session.encode(tokens, counts, ids(chance, chance.choice([0, 0, len(tokens), 1]), 3), names)
    elif what == "remember":
        memories.append(session.remember())
    elif what in ("start", "join"):
        memory = chance.choice([None, *memories])
        getattr(session, what)(chance.choice([rows, 0 if memory is None else len(memory)]), memory)
    elif what == "spread":
        session.spread(chance.choice([1, 2, 4, 0, -1, 1 << 30]))
    elif what == "feed":
        rows = session.rows()
        session.feed(*texts(chance, rows if rows < 60 else 1), chance.random() < 0.5, names)
    elif what == "gather":
        session.gather(ids(chance, chance.choice([0, 1, 2, 5, 9]), max(1, session.rows())))
    elif what == "drop":
        session.drop(chance.choice([0, 1, 1, 2, 17, -1, 1 << 30]))
    elif what == "put":
        shape = chance.randrange(5), chance.choice([16, 16, 16, 0, 1, 17])
        session.put(np.full(shape, chance.choice([0.5, np.nan, np.inf]), np.float32))
    elif what == "best":
        session.best(chance.choice([1, 2, 5, 40, 0, 41]), [[chance.choice(IDS[1:]) for _ in range(chance.randrange(3))]
                                                         for _ in range(chance.choice([0, 1, 1, rows]))], chance.random() < 0.3)
    elif what == "select":
        logits = np.full((rows, chance.choice([0, 1, 40, 1000])), chance.choice([1.0, np.nan, np.inf, -np.inf]), np.float32)
        session.select(logits, chance.choice([1, 2, 40, 0]))
    elif what == "choose":
        session.choose(ids(chance, chance.randrange(4), 4))
    else:
        getattr(session, what)()


WATCHED = ["encoder.blocks.0.self_attention.weights", "decoder.blocks.0.self_attention.weights",
           "decoder.blocks.0.cross_attention.weights", "encoder.hidden", "decoder.hidden", "decoder.blocks.1.hidden"]


def run_case(number: str, told: Counter[str]) -> None:
    chance = random.Random(number)
    memories: list[Any] = []
    sessions: list[Any] = []
    for _ in range(chance.choice([1, 1, 2])):
        programs, weights = model_of(chance, chance.choice(CONFIGS))
        for _ in range(chance.choice([0, 0, 1, 2, 5])):
            change_program(chance, programs, weights) if chance.random() < 0.7 else change_weight(chance, weights)
        os.environ["WEFT_ISA"] = chance.choice(ISAS)
        lines = [(name, [tuple(line) for line in program]) for name, program in programs.items()]
        try:
            model = _native.load(lines, weights, chance.choice(["float32", "bfloat16", "int8"]), chance.choice([1, 1, 2, 3]))
        except REFUSED:
            told["models refused"] += 1
            continue
        told["models loaded"] += 1
        model.describe()
        sessions.append(_native.Session(model))
    for _ in range(60 if sessions else 0):
        try:
            call(chance, chance.choice(sessions), memories)
            told["calls done"] += 1
        except REFUSED:
            told["calls refused"] += 1


ISAS = machine_isas()


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one only")
    arguments = parser.parse_args()
    told: Counter[str] = Counter()
    end, number = time.monotonic() + arguments.seconds, arguments.case or 0
    note = ROOT / "build" / "fuzz-case"
    note.parent.mkdir(exist_ok=True)
    while time.monotonic() < end:
        note.write_text(f"--seed {arguments.seed} --case {number}\n")
        run_case(f"{arguments.seed}-{number}", told)
        number += 1
        if arguments.case is not None:
            break
    print(", ".join(f"{count:,} {what}" for what, count in sorted(told.items())) + f", seed {arguments.seed}")
    assert arguments.case is not None or (told["calls done"] > 0 < told["models refused"]), "nothing was tried"


if __name__ == "__main__":
    main()
