"""Contestants that take turns on the same work, each in a process of its own, so that none meets another's memory.

Of every lap two times are taken: one up to the first new token and one with all of them, from the start both. Decoding is the
difference.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

LEAST_LAPS = 3


@dataclass(frozen=True)
class Work:
    """rows: token ids that are read, [batch, tokens]: sources, prompts or whole texts. new: tokens that each row then gets; 0:
    none, the texts are read by an encoder only."""

    rows: tuple[tuple[int, ...], ...]
    new: int
    beams: int = 1

    @property
    def read(self) -> int:
        """Tokens that are read, of all rows."""
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Lap:
    """Seconds up to the first new token, and with all of them; most bytes of memory that the process has had."""

    first: float
    whole: float
    memory: int


Step = Callable[[Work, int], None]
"""Does the work, with as many new tokens instead of its own."""
Make = Callable[[], tuple[Step, dict[str, Any]]]
"""Makes the step, in the contestant's process, and tells of what it runs; picklable."""
Say = Callable[[str], None]


class Failed(Exception):
    """What a process said when it failed."""


class _Process:
    """A function's answers from a process of its own."""

    def __init__(self, context: SpawnContext, threads: int, function: Callable[..., Any], *arguments: Any) -> None:
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, threads, function, *arguments), daemon=True)
        self._process.start()
        theirs.close()  # else one that dies is waited for forever

    def answer(self) -> Any:
        """Raises Failed."""
        try:
            good, value = self._line.recv()
        except EOFError:
            self._process.join()
            raise Failed(f"its process ended with status {self._process.exitcode}") from None
        if not good:
            raise Failed(value)
        return value

    def ask(self, work: Any) -> Any:
        """Raises Failed."""
        with suppress(OSError):  # its end is told by `answer`
            self._line.send(work)
        return self.answer()

    def end(self) -> None:
        """Its line's end ends it; by force where it does something else."""
        self._line.close()
        self._process.join(5)
        self._process.terminate()
        self._process.join()


def _run(line: Connection, threads: int, function: Callable[..., Any], *arguments: Any) -> None:
    """The process: a generator's answers, one for each message that it is sent. What is printed here is no part of a table."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        answers = function(*arguments)
        line.send((True, next(answers)))
        while True:
            line.send((True, answers.send(line.recv())))
    except (EOFError, StopIteration):
        pass
    except BaseException as error:
        line.send((False, f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _contestant(make: Make) -> Generator[Any, Work, None]:
    """Facts, then a Lap for each work."""
    step, facts = make()
    gc.collect()
    gc.freeze()
    work = yield facts
    while True:
        start = time.perf_counter()
        step(work, min(work.new, 1))
        first = whole = time.perf_counter() - start
        if work.new > 1:
            start = time.perf_counter()
            step(work, work.new)
            whole = time.perf_counter() - start
        work = yield Lap(first, whole, peak_memory())


def _once(function: Callable[..., Any], *arguments: Any) -> Generator[Any, None, None]:
    yield function(*arguments)


def apart(function: Callable[..., Any], *arguments: Any) -> str:
    """Call a function in a process of its own, so that what it imports is gone afterwards. Why it failed, or nothing."""
    process = _Process(multiprocessing.get_context("spawn"), os.cpu_count() or 1, _once, function, *arguments)
    try:
        process.answer()
    except Failed as error:
        return str(error)
    finally:
        process.end()
    return ""


def peak_memory() -> int:
    """Bytes. Of Linux by this process' own mark, as getrusage counts what the process was before it became this program."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Race:
    """Contestants that wait for work. One that fails is left out from then on, with its reason."""

    def __init__(self, makers: Mapping[str, Make], threads: int, say: Say) -> None:
        self._say, self.left_out, self.facts = say, dict[str, str](), dict[str, dict[str, Any]]()
        self._processes: dict[str, _Process] = {}
        context = multiprocessing.get_context("spawn")
        for name, make in makers.items():
            say(f"loading {name}")
            process = self._processes[name] = _Process(context, threads, _contestant, make)
            try:
                self.facts[name] = process.answer()
            except Failed as error:
                self._leave(name, error)

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.end()

    def _leave(self, name: str, error: Failed) -> None:
        self.left_out[name] = str(error)
        self._processes.pop(name).end()

    def run(self, work: Work, seconds: float) -> dict[str, list[Lap]]:
        """Laps in turns, after one that warms up, until each has had about `seconds`."""
        laps: dict[str, list[Lap]] = {name: [] for name in self._processes}
        for name in laps:
            self._lap(name, work)
        start, number = time.perf_counter(), 0
        while number < LEAST_LAPS or time.perf_counter() - start < seconds * len(self._processes):
            number += 1
            if not self._processes:
                break
            for name in list(self._processes):
                self._say(f"batch {len(work.rows)}, {work.beams} beams: lap {number} of {name}")
                lap = self._lap(name, work)
                if lap is not None:
                    laps[name].append(lap)
        return {name: own for name, own in laps.items() if name in self._processes}

    def _lap(self, name: str, work: Work) -> Lap | None:
        try:
            return self._processes[name].ask(work)
        except Failed as error:
            self._leave(name, error)
            return None
