"""Texts of a verb: from its arguments, or line by line from standard input, in batches as they arrive."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from weft.data import read_lines
from weft.errors import DataError, UsageError
from weft.model import Model


def batches(texts: list[str], most: int) -> Iterator[list[str]]:
    """The texts given, or those of standard input. Raises UsageError if there is neither."""
    if texts:
        yield texts
    elif sys.stdin is None:
        raise UsageError("no text is given and standard input is closed")
    else:
        yield from _of_stream(sys.stdin.buffer, max(1, most))


def tell(model: Model) -> None:
    """Notices of a batch, on standard error."""
    for notice in model.notices:
        print(f"weft: note: {notice}", file=sys.stderr)
    model.notices.clear()


def one_line(text: str) -> str:
    """One line in, one line out."""
    return text.replace("\n", " ").replace("\r", " ")


def _of_stream(stream: IO[bytes], most: int) -> Iterator[list[str]]:
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

    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("lines"),
                             TimeElapsedColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _Lines:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)


def progress(what: str, quiet: bool) -> AbstractContextManager[Any]:
    """A bar on standard error where that is a terminal, with `advance(lines)`; None elsewhere."""
    return nullcontext() if quiet or not sys.stderr.isatty() else _Lines(what, None)

