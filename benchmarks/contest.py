"""Contestants that take turns on the same work, each in a process of its own, so that none meets another's memory."""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from weft.bench.contest import peak_memory

Step = Callable[[Any], None]
SHORT = 0.3
"""Seconds below which a piece of work is done twice and the second time counts: the first one pays for what the contestant
before left in the caches, and for its threads, which may spin for a while."""
PAUSE = 0.05
"""Seconds before each turn, for the same reason."""


def contest(makers: Mapping[str, Callable[[], Step]], rounds: Sequence[Any], warm_up: int) -> dict[str, list[float]]:
    """Seconds of each contestant for each of `rounds` after the first `warm_up`.

    makers: name -> what makes, in the contestant's process, the step that does a round's work; picklable.
    """
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    for name, make in makers.items():
        lines[name], theirs = context.Pipe()
        processes.append(context.Process(target=_run, args=(make, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # else one that fails is waited for forever
        lines[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for number, work in enumerate(rounds):
        for name, line in lines.items():
            time.sleep(PAUSE)
            line.send([work])
            took = line.recv()
            if number >= warm_up:
                seconds[name].append(took)
    for line, process in zip(lines.values(), processes, strict=True):
        line.send([])
        process.join(10)
    return seconds


def memory(makers: Mapping[str, Callable[[], Step]], work: Any) -> dict[str, int]:
    """Most bytes that each contestant's process had at once: to begin and to do the work twice, after `contest`, so that
    what is kept on disk between runs is there."""
    context, most = multiprocessing.get_context("spawn"), {}
    for name, make in makers.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_measure, args=(make, work, theirs), daemon=True)
        process.start()
        theirs.close()
        most[name] = ours.recv()
        process.join(10)
    return most


def _measure(make: Callable[[], Step], work: Any, line: Connection) -> None:
    step = make()
    step(work)
    step(work)
    line.send(peak_memory())


def show(speeds: Mapping[str, Sequence[float]], unit: str) -> None:
    """A row each: median, lowest and highest, and the ratio to the best of those that are not Weft."""
    peer = max(statistics.median(values) for name, values in speeds.items() if not name.startswith("weft"))
    for name, values in speeds.items():
        speed = statistics.median(values)
        print(f"  {name:28s} {speed:9,.4g} {unit}  ({min(values):,.4g} to {max(values):,.4g})  {speed / peer:5.2f} x best peer",
              flush=True)


@contextmanager
def models(folder: Path | None, prepare: Callable[[Path], Any]) -> Iterator[Path]:
    """Where the models are: put into `folder` if they are not there yet, or into a temporary one."""
    with tempfile.TemporaryDirectory() as place:
        found = folder or Path(place)
        found.mkdir(exist_ok=True)
        if not (found / "weft").exists():
            prepare(found)
        yield found


def _run(make: Callable[[], Step], line: Connection) -> None:
    """A contestant's process: times each piece of work that it is sent, until it is sent none."""
    step = make()
    gc.collect()
    gc.freeze()
    line.send("ready")
    while message := line.recv():
        took = _seconds(step, message[0])
        line.send(_seconds(step, message[0]) if took < SHORT else took)


def _seconds(step: Step, work: Any) -> float:
    start = time.perf_counter()
    step(work)
    return time.perf_counter() - start
