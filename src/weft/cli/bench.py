"""weft bench: how fast a bundle runs here, beside what the machine allows and what other programs make of it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import nullcontext
from typing import Any

from weft.backends import PRECISIONS, default_threads
from weft.bench.measure import bench
from weft.bundle import find_model, open_bundle
from weft.cli.flags import Parser
from weft.spec.ranges import Range, check_number

_EXAMPLES = """examples:
  weft bench fr-en
  weft bench my-model --precision int8 bf16 fp32 --no-peers
  weft bench gpt2-bundle --batch 1 8 --prompt-tokens 128 --new-tokens 64 --threads 2
  weft bench fr-en --json > speed.json

Measures what this machine reads and multiplies at most, then random texts of the usual lengths: tokens decoded and read a
second, the time to the first token, peak memory of the process, and which share of the machine's limit that is (the weights
that a step reads over the read bandwidth, or its operations over the peak of the engine's kernels, whichever is longer; caches
of keys and values and attention are not counted). Beside it the same bundle in Hugging Face transformers, CTranslate2 and
llama.cpp, where they are installed and take it. All take turns, each in a process of its own; a number is the median of its
laps, and their range stands in brackets. Other work on the machine spoils all of them."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft bench", description="Measure a model's speed and memory on this machine.", epilog=_EXAMPLES)
    parser.add_argument("model", help="bundle folder or shipped model")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["auto"],
                        help="of Weft's rows; several may be given (default: auto, what the model runs in)")
    parser.add_argument("--peers", action="store_true", default=True, help="compare with other programs (default)")
    parser.add_argument("--no-peers", action="store_false", dest="peers", help="measure Weft alone")
    parser.add_argument("--threads", type=int, default=default_threads(), metavar="N",
                        help="of every program (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="X",
                        help="about, for each line of the table (default: 3)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], metavar="N", help="texts together (default: 1 32)")
    parser.add_argument("--beams", type=int, metavar="N", help="of a translator, beside greedy (default: the bundle's)")
    parser.add_argument("--prompt-tokens", type=int, metavar="N",
                        help="tokens of a text that is read (default: 24 to translate, 128 otherwise)")
    parser.add_argument("--new-tokens", type=int, metavar="N", help="tokens to generate (default: 32 to translate, else 64)")
    parser.add_argument("--json", action="store_true", help="one JSON object, with the range of every number")
    arguments = parser.parse_args(argv)
    _check(arguments)
    bundle = open_bundle(find_model(arguments.model))
    with _status() as say:
        found = bench(bundle, arguments.precision, threads=arguments.threads, seconds=arguments.seconds,
                      batches=arguments.batch, read=arguments.prompt_tokens, new=arguments.new_tokens, beams=arguments.beams,
                      with_peers=arguments.peers, **({"say": say} if say else {}))
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(_lines(found)))
    return 1 if any(name.startswith("weft ") for name in found["left_out"]) else 0


def _check(arguments: Namespace) -> None:
    """Raises UsageError for numbers that cannot be."""
    most = {"threads": 256, "beams": 64, "prompt_tokens": 1 << 20, "new_tokens": 1 << 20}
    given = [(name, getattr(arguments, name), limit) for name, limit in most.items()]
    for name, value, limit in [*given, *(("batch", batch, 4096) for batch in arguments.batch)]:
        if value is not None:
            check_number(f"--{name.replace('_', '-')}", value, int, Range(1, limit))
    check_number("--seconds", arguments.seconds, float, Range(0, 3600))


class _Status:
    """What is being measured, in one line of standard error that is written over."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, text: str) -> None:
        print(f"\r\x1b[K{text:.78}", end="", file=sys.stderr, flush=True)


def _status() -> Any:
    return _Status() if sys.stderr.isatty() else nullcontext()


# ---------------------------------------------------------------- the table


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['bundle']}, {found['kind']}, {found['threads']} thread{'s' * (found['threads'] > 1)}"]
    lines += _machine(found)
    rows = found["rows"]
    for work in dict.fromkeys((row["batch"], row["beams"], row["read"], row["new"]) for row in rows):
        own = [row for row in rows if (row["batch"], row["beams"], row["read"], row["new"]) == work]
        lines += ["", _heading(*work), *_table(own)]
    lines += [""] * bool(found["left_out"])
    reasons: dict[str, list[str]] = {}
    for name, reason in found["left_out"].items():
        reasons.setdefault(reason, []).append(name)
    return lines + [f"left out: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _machine(found: dict[str, Any]) -> list[str]:
    reads = [f"{_spread(speed, 1e9, 1)} GB/s over {int(size) / 1e6:,.1f} MB"
             for size, speed in found["machine"]["read_bytes_per_second"].items()]
    peaks = [f"{kind} {_spread(speed, 1e9, 0)} GOP/s" for kind, speed in found["machine"]["operations_per_second"].items()]
    if not reads:
        return ["the machine's limits are not measured: no native engine runs this model here"]
    return [f"the machine, {found['kernels']} kernels: reads {'; '.join(reads)}", f"  multiplies {'; '.join(peaks)}"]


def _heading(batch: int, beams: int, read: int, new: int) -> str:
    if not new:
        return f"batch {batch}, texts of {read} tokens"
    return f"batch {batch}, {f'beam {beams}' if beams > 1 else 'greedy'}, {read} tokens read and {new} new ones"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Columns as wide as what is in them."""
    generates = rows[0]["new"] > 0
    heads = ["", *(["decoded tokens/s", "of the limit"] if generates else ["texts/s"]), "read tokens/s", "of the limit",
             *(["first token, ms"] if generates else []), "memory, MB"]
    table = [heads, *(_cells(row, generates) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
    return ["  " + "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                          zip(line[1:], widths[1:], strict=True))]).rstrip() for line in table]


def _cells(row: dict[str, Any], generates: bool) -> list[str]:
    share = f"{row['decode_share']:.0%} ({row['decode_limit']})" if "decode_share" in row else "-"
    first = [_spread(row.get("decode_tokens_per_second")), share] if generates else [_spread(row["texts_per_second"], digits=1)]
    return [row["name"], *first, _spread(row["read_tokens_per_second"]),
            f"{row['read_share']:.0%}" if "read_share" in row else "-",
            *([_spread(row["first_token_seconds"], 1e-3, 1)] if generates else []), f"{row['memory_bytes'] / 1e6:,.0f}"]


def _spread(speed: dict[str, float] | None, unit: float = 1.0, digits: int = 0) -> str:
    if speed is None:
        return "-"
    median, low, high = (f"{speed[key] / unit:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}-{high})"
