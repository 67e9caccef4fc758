"""How fast a bundle runs on this machine, and what share that is of what the machine allows; beside it the same bundle in
other programs (weft.bench.peers). It knows of a program only how to make the step that does its work.
"""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from weft.backends import choose, open_runner
from weft.bench import peers
from weft.bench.contest import Lap, Make, Race, Say, Step, Work, apart
from weft.bundle import Bundle, open_bundle
from weft.decode import generate_batch
from weft.errors import UsageError
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions

BEYOND_CACHES = 512 << 20
"""Bytes that no cache holds."""
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Spread:
    """Of several measurements."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def bench(bundle: Bundle, precisions: Sequence[str], *, threads: int, seconds: float, batches: Sequence[int] = (1, 32),
          read: int | None = None, new: int | None = None, beams: int | None = None, with_peers: bool = True,
          say: Say = lambda _: None) -> dict[str, Any]:
    """Everything that `weft bench` tells, as JSON would have it.

    precisions: of Weft's rows, `auto` among them. seconds: about, for each row of the tables. read, new: tokens that a row
    reads and gets. beams: of a translator; default: the bundle's. Raises UsageError for a precision that cannot be.
    """
    chosen = dict.fromkeys(choose(bundle, "auto", precision) for precision in precisions)
    makers: dict[str, Make] = {f"weft {precision}": partial(weft, str(bundle.path), precision, threads)
                               for _, precision in chosen}
    given = works(bundle, batches, read, new, beams)
    with tempfile.TemporaryDirectory() as folder:
        left_out: dict[str, str] = {}
        if with_peers:
            say("giving the bundle to other programs")
            others, left_out = peers.prepared(bundle, Path(folder), threads, apart)
            makers |= others
        with Race(makers, threads, say) as race:
            kinds = sorted({kind for facts in race.facts.values() for kind, *_ in facts.get("matrices", ())})
            sizes = sorted({BEYOND_CACHES, *(_bytes(_step(facts)) for facts in race.facts.values() if facts)})
            measured = _measured(sizes, kinds, threads, seconds, say)
            laps = [race.run(work, seconds) for work in given]
            again = _measured(sizes, kinds, threads, seconds, say)
            machine = {name: spread(speeds + again[name]) for name, speeds in measured.items()}
            rows = [_row(name, work, own, race.facts[name], machine)
                    for work, found in zip(given, laps, strict=True) for name, own in found.items()]
            left_out |= race.left_out
            facts = next((facts for facts in race.facts.values() if facts), {})
    return {"bundle": str(bundle.path), "kind": bundle.config.kind, "threads": threads, "kernels": facts.get("isa"),
            "machine": _machine(machine), "rows": rows, "left_out": left_out}


# ---------------------------------------------------------------- the work, and Weft's way to do it


def works(bundle: Bundle, batches: Sequence[int], read: int | None, new: int | None, beams: int | None) -> list[Work]:
    """Random texts, the same each time, in the sizes of the published comparisons: 24 tokens to translate into 32, prompts of
    128 to go on with by 64, texts of 128 to read."""
    config = bundle.config
    generates = config.decoder is not None and isinstance(config.head, c.LanguageModelHead)
    if config.encoder is not None and generates:
        length, count = read or min(24, config.window.source), new or min(32, config.window.target - 1)
        searches = dict.fromkeys([1, beams or bundle.generation.get("beams", 1)])
    elif generates:
        count = new or min(64, config.window.target // 2)
        length, searches = read or min(128, config.window.target - count), dict.fromkeys([1])
    else:
        length, count, searches = read or min(128, config.window.source), 0, dict.fromkeys([1])
    window, whole = (config.window.target, length + count) if config.encoder is None else (config.window.source, length)
    if whole > window or (config.encoder is not None and count >= config.window.target):
        raise UsageError(f"{length} tokens read and {count} new ones do not fit the model's window of {config.window.source} "
                         f"and {config.window.target}; ask for fewer (--prompt-tokens, --new-tokens)")
    ends = (config.special.eos,) if config.encoder is not None and generates else ()
    return [Work(_rows(config, batch, length, ends), count, search) for batch in batches for search in searches]


def _rows(config: c.ModelConfig, batch: int, length: int, ends: tuple[int | None, ...]) -> tuple[tuple[int, ...], ...]:
    """[batch, length] ids, of which the last is that of the end where there is one."""
    special = config.special
    odd = {special.pad, special.unk, special.bos, special.eos, special.start, special.mask, *special.prefix, *special.ending}
    usual = [token for token in range(min(config.vocabulary, 4096)) if token not in odd]
    drawn = np.random.default_rng(0).choice(usual, (batch, length - len(ends))).tolist()
    return tuple((*row, *ends) for row in drawn)


def weft(path: str, precision: str, threads: int) -> tuple[Step, dict[str, Any]]:
    """The step, and of the engine (program, precision, outputs, inputs) of every matrix."""
    bundle = open_bundle(path)
    runner = open_runner(bundle, "auto", precision, threads)

    def step(work: Any, new: int) -> None:
        if not new:
            runner.score_all(work.rows)
            return
        options = GenerationOptions(beams=work.beams, max_new_tokens=new, min_new_tokens=new)
        given = {"sources": None, "prompts": work.rows} if bundle.config.encoder is None else {"sources": work.rows}
        found = generate_batch(runner, options=options, **given)
        assert all(len(one[0].tokens) == new for one in found)

    engine: Any = getattr(runner, "model", None)
    if not hasattr(engine, "describe"):
        return step, {}
    pattern = re.compile(r"(?:linear|output) \[(\d+), (\d+)\] (\w+)")
    lines = [(program, pattern.match(line)) for program, line in engine.describe()]
    matrices = [(match[3], program, int(match[1]), int(match[2])) for program, match in lines if match]
    per_token = isinstance(bundle.config.head, c.LanguageModelHead | c.TagHead)
    return step, {"isa": engine.isa, "matrices": matrices, "per_token": per_token}


# ---------------------------------------------------------------- what the machine allows


def _measured(sizes: Sequence[int], kinds: Sequence[str], threads: int, seconds: float, say: Say) -> dict[str, list[float]]:
    """Name -> speeds: bytes a second of each size, operations a second of each precision. Empty without the engine."""
    if not kinds:
        return {}
    from weft import _native

    say("measuring the machine")
    each = min(1.0, seconds / 3)
    passes = {f"read {size}": _native.read_speed(size, threads, each) for size in sizes}
    passes |= {kind: _native.product_speed(kind, threads, each) for kind in kinds}
    return {name: [work / took for took in times] for name, (work, times) in passes.items()}


def _machine(machine: Mapping[str, Spread]) -> dict[str, Any]:
    reads = {name: speed for name, speed in machine.items() if name.startswith("read ")}
    return {"read_bytes_per_second": {name.removeprefix("read "): asdict(speed) for name, speed in reads.items()},
            "operations_per_second": {name: asdict(speed) for name, speed in machine.items() if name not in reads}}


def _step(facts: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """The matrices that a step of decoding reads; of an encoder alone all."""
    own = [matrix for matrix in facts["matrices"] if matrix[1] in ("decoder", "head")]
    return own if any(matrix[1] == "decoder" for matrix in own) else list(facts["matrices"])


def _bytes(matrices: Sequence[tuple[str, str, int, int]]) -> int:
    return sum(BYTES[kind] * outputs * inputs for kind, _, outputs, inputs in matrices)


def _product_seconds(matrices: Sequence[tuple[str, str, int, int]], rows: Mapping[str, int], machine: Mapping[str, Spread]
                     ) -> float:
    """At the machine's peak. rows: of activations, by program."""
    return sum(2.0 * outputs * inputs * rows.get(program, 0) / machine[kind].median
               for kind, program, outputs, inputs in matrices)


def _limits(work: Work, facts: Mapping[str, Any], machine: Mapping[str, Spread]) -> tuple[float, float, str]:
    """Least seconds of what is read and of a step of decoding, and by what: memory or products. Attention, which is small at
    these lengths, is left out."""
    matrices, batch, step = facts["matrices"], len(work.rows), _step(facts)
    programs = {program for _, program, _, _ in matrices}
    texts = {"encoder": work.read, "memory": work.read, "head": work.read if facts["per_token"] else batch}
    if work.new:
        texts["head"] = batch
        texts["decoder"] = batch * work.beams if "encoder" in programs else work.read
    reading = max(_product_seconds(matrices, texts, machine), _bytes(matrices) / machine[f"read {_bytes(step)}"].median)
    rows = batch * work.beams
    memory = _bytes(step) / machine[f"read {_bytes(step)}"].median
    products = _product_seconds(step, {"decoder": rows, "head": rows}, machine)
    return reading, max(memory, products), "memory" if memory >= products else "products"


def _row(name: str, work: Work, laps: Sequence[Lap], facts: Mapping[str, Any], machine: Mapping[str, Spread]) -> dict[str, Any]:
    """A row of the tables."""
    batch, firsts = len(work.rows), [lap.first for lap in laps]
    row: dict[str, Any] = {"name": name, "batch": batch, "beams": work.beams, "read": len(work.rows[0]), "new": work.new,
                           "laps": len(laps), "memory_bytes": max(lap.memory for lap in laps),
                           "read_tokens_per_second": asdict(spread([work.read / first for first in firsts]))}
    limits = _limits(work, facts, machine) if facts else None
    if limits:
        row["read_share"] = limits[0] / statistics.median(firsts)
    if not work.new:
        return row | {"texts_per_second": asdict(spread([batch / first for first in firsts]))}
    row["first_token_seconds"] = asdict(spread(firsts))
    steps = [lap.whole - statistics.median(firsts) for lap in laps]
    if work.new < 2 or min(steps) <= 0:  # too short to tell from noise
        return row
    row["decode_tokens_per_second"] = asdict(spread([batch * (work.new - 1) / step for step in steps]))
    if limits:
        row |= {"decode_share": limits[1] * (work.new - 1) / statistics.median(steps), "decode_limit": limits[2]}
    return row
