"""Continuous batching (Yu et al. 2022, "Orca", iteration-level scheduling): requests join and leave between steps.

Every job is decoded by the one loop, `weft.decode.loop.prepare`, which stops before each step; the batcher takes the steps that
all jobs wait for in one pass (weft.spec.runner.Together). A job has its own options, strategy and processors and never hears
of others, so that its result is the one it would have alone. One thread; weft.decode.scheduler is for several.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from weft.decode.loop import Ids, Items, prepare
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import GenerationEvent
from weft.spec.runner import Runner, Step, Together

Tell = Callable[[GenerationEvent | Exception | None], None]
"""Hears each event of a job, and at last None, or what it failed with."""


WAYS_OUT = {"rows": "ask for fewer beams or draws (beams, n, best_of)",
            "positions": "ask for fewer new tokens (max_new_tokens)"}


@dataclass(frozen=True)
class Limits:
    """rows: of a step, `beams` for each draw of an input. positions: tokens that caches may hold, counted as if every
    request used all of its limit. chunk: tokens of prompts and sources that are read between two steps of other jobs."""

    rows: int = 64
    positions: int = 1 << 15
    chunk: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UsageError(f"{name} is {value}; it must be 1 or more")


@dataclass(eq=False)
class Job:
    """What was handed in together. rows, positions: what it takes of the limits. alone: its
    steps are not taken with others'."""

    items: Items
    tell: Tell
    rows: int
    positions: int
    alone: bool
    waits_for: Step | None = None
    cancelled: bool = False
    """Whoever sets this ends the job before its next step, with a UsageError."""


class Batcher:
    """Jobs are taken in the order in which they came, each as soon as it fits beside those that run."""

    def __init__(self, runner: Runner, limits: Limits) -> None:
        """runner: left as it is; jobs have runners of their own over its weights."""
        self.runner, self.limits = runner, limits
        make = getattr(runner, "together", None)
        self.together: Together | None = None if make is None else make(limits.chunk)
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []

    # ------------------------------------------------------------ jobs

    def job(self, sources: Sequence[Ids] | None, options: GenerationOptions, tell: Tell, *, draft: Runner | None = None,
            **given: Any) -> Job:
        """One that may be put into `waiting`. given: what else `prepare` takes. Raises UsageError and WindowError, also for
        what would never fit the limits. Changes nothing, so that any thread may call it.
        """
        alone = self.together is None or draft is not None or needs_own_runner(options) or "recorder" in given
        runner = copy(self.runner) if alone or self.together is None else self.together.seat()
        prepared = prepare(runner, sources, options, draft=draft and copy(draft), **given)
        each = max(options.beams, options.top_k if options.penalty_alpha else 1)
        read = [len(request.source) + len(request.prompt) for request in prepared.requests if request.draw == 0]
        rows = each * len(prepared.requests)
        positions = sum(read) + each * sum(request.limit for request in prepared.requests)
        for name, needed in (("rows", rows), ("positions", positions)):
            most = getattr(self.limits, name)
            if needed > most:
                raise UsageError(f"the request may take {needed} {name}, and all requests together have {most}; "
                                 f"{WAYS_OUT[name]}, or open the batcher with more {name}")
        return Job(prepared.items, tell, rows, positions, alone)

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.running)

    # ------------------------------------------------------------ a step

    def step(self) -> None:
        """One step of every job that runs, after those who leave have left and those who fit have come."""
        for job in [job for job in (*self.waiting, *self.running) if job.cancelled]:
            self._end(job, UsageError("the request was cancelled before it had ended"))
        self._admit()
        self._take()
        for job in [job for job in self.running if job.waits_for is not None and job.waits_for.is_taken]:
            self._go_on(job)
        if not self.running:
            self._take()  # lets go of all rows

    def _admit(self) -> None:
        while self.waiting and self._fits(self.waiting[0]):
            job = self.waiting.popleft()
            self.running.append(job)
            self._go_on(job)

    def _fits(self, job: Job) -> bool:
        return all(getattr(job, name) + sum(getattr(other, name) for other in self.running) <= getattr(self.limits, name)
                   for name in ("rows", "positions"))

    def _take(self) -> None:
        """The steps that jobs wait for. What goes wrong with several taken together ends all of them."""
        if self.together is not None:
            jobs = [job for job in self.running if not job.alone]
            self._take_all(jobs, self.together.step)
        for job in [job for job in self.running if job.alone]:
            self._take_all([job], lambda steps: steps[0].take())

    def _take_all(self, jobs: Sequence[Job], take: Callable[[Sequence[Step]], None]) -> None:
        try:
            take([job.waits_for for job in jobs if job.waits_for is not None])
        except Exception as error:
            for job in jobs:
                self._end(job, error)

    def _go_on(self, job: Job) -> None:
        """To the next step that it waits for."""
        try:
            for item in job.items:
                if isinstance(item, Step):
                    job.waits_for = item
                    return
                job.tell(item)
        except Exception as error:
            self._end(job, error)
        else:
            self._end(job)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        (self.running if job in self.running else self.waiting).remove(job)
        job.items.close()
        job.tell(error)


def needs_own_runner(options: GenerationOptions) -> bool:
    """Whether decoding asks more of a step than scores, or takes steps back."""
    return bool(options.lookup or options.penalty_alpha or options.coverage_penalty)
