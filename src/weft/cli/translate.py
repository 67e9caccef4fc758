"""weft translate: texts from the command line, or lines from standard input, in order and as they are ready."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from weft.cli.flags import Parser, add_flags, given
from weft.data import read_lines
from weft.errors import DataError, UsageError
from weft.model import Model, Result, load
from weft.spec.decoding import GenerationOptions

_EXAMPLES = """examples:
  weft translate "J'aime l'apprentissage automatique"
  weft translate --model en-fr "I love machine learning"
  cat letters.fr | weft translate > letters.en
  weft translate --beam 5 --n-best 3 --scores "Où est la gare ?"
  weft translate --sample --top-p 0.9 --seed 7 "Bonjour."

With --n-best above 1 every input gives that many lines: number of the input, from 1, TAB, translation; with
--scores the score comes first, TAB, on each line. Blank lines stay blank."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft translate", description="Translate texts, or standard input line by line.",
                    epilog=_EXAMPLES)
    parser.add_argument("text", nargs="*", help="texts to translate; none: lines of standard input")
    parser.add_argument("--model", default="fr-en", help="bundle folder or shipped model (default: fr-en)")
    parser.add_argument("--scores", action="store_true", help="print the score before each translation")
    parser.add_argument("--batch-lines", type=int, default=64, metavar="N",
                        help="most lines translated together (default: 64)")
    parser.add_argument("--too-long", choices=("split", "refuse"), default="split",
                        help="a text beyond the model's window: split at sentence ends with a notice, or refuse")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="compute in (default: fp32)")
    add_flags(parser, GenerationOptions, {"beams": ("--beam",)})
    arguments = parser.parse_args(argv)
    model = load(arguments.model, precision=arguments.precision)
    options = given(arguments, GenerationOptions)
    chosen = model.options(**options)  # refuse what cannot be before the first line is read
    if not arguments.text and sys.stdin is None:
        raise UsageError("no text is given and standard input is closed")
    batches = [arguments.text] if arguments.text else _batches(sys.stdin.buffer, max(1, arguments.batch_lines))
    with _progress(bool(arguments.text)) as progress:
        number = 0
        for lines in batches:
            results = model.generate(lines, too_long=arguments.too_long, first=number, **options)
            for result in results:
                number += 1
                _print(result, number if chosen.n_best > 1 else None, arguments.scores)
            sys.stdout.flush()
            _tell(model)
            if progress is not None:
                progress.advance(len(lines))
    return 0


def _print(result: Result, number: int | None, scores: bool) -> None:
    for alternative in result.alternatives or (result,):
        parts = [f"{alternative.score:.4f}"] if scores else []
        if number is not None:
            parts.append(str(number))
        text = alternative.text.replace("\n", " ").replace("\r", " ")  # one line in, one line out
        sys.stdout.write("\t".join([*parts, text]) + "\n")


def _tell(model: Model) -> None:
    """Notices of this batch, on standard error."""
    for notice in model.notices:
        print(f"weft: note: {notice}", file=sys.stderr)
    model.notices.clear()


def _batches(stream: IO[bytes], most: int) -> Iterator[list[str]]:
    """Lines in lists of at most `most`; a list ends early when no further line is waiting, as from a terminal."""
    lines: list[str] = []
    try:
        for line in read_lines(stream):
            lines.append(line)
            if len(lines) >= most or not _waiting(stream):
                yield lines
                lines = []
    except DataError:
        if lines:  # what came before the bad line is still translated
            yield lines
        raise
    if lines:
        yield lines


def _waiting(stream: IO[bytes]) -> bool:
    """Whether more input can be read without waiting. What cannot tell (a test's stream) says yes."""
    peek = getattr(stream, "peek", None)
    try:
        ready, _, _ = select.select([stream], [], [], 0)
    except (OSError, ValueError, TypeError):
        return True
    buffered = getattr(stream, "raw", None) is not None and _buffered(stream)
    return bool(ready) or buffered if peek else True


def _buffered(stream: Any) -> bool:
    """Whether a buffered reader holds unread bytes already; peek() would block on an empty buffer."""
    try:
        os.set_blocking(stream.fileno(), False)
        return bool(stream.peek(1))
    except OSError:
        return False
    finally:
        os.set_blocking(stream.fileno(), True)


class _Lines:
    """A count of lines on standard error, with the share of a file that is done where its size is known."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(TextColumn("translating"), BarColumn(), MofNCompleteColumn(), TextColumn("lines"),
                             TimeElapsedColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _Lines:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)


def _progress(quiet: bool) -> AbstractContextManager[Any]:
    return nullcontext() if quiet or not sys.stderr.isatty() else _Lines(None)

