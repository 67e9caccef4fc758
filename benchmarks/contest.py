"""Contestants that take turns on the same work, each in a process of its own, so that none meets another's memory."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

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
