"""Requests of many threads, decoded in one: a queue before a Batcher, and a ticket for each request."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from weft.decode.batcher import Batcher, Job, Limits
from weft.decode.loop import Ids
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis
from weft.spec.runner import Runner


class Ticket:
    """A request on its way. Iterating gives its events as they come, once; `result` waits for the end.

    Both raise what the request failed with, UsageError if it was cancelled.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self._items: SimpleQueue[GenerationEvent | Exception | None] = SimpleQueue()
        self._over = threading.Event()
        self._error: Exception | None = None
        self._found: dict[int, tuple[Hypothesis, ...]] = {}

    def tell(self, item: GenerationEvent | Exception | None) -> None:
        """For the thread that decodes."""
        if isinstance(item, FinishedEvent):
            self._found[item.request] = item.hypotheses
        if item is None or isinstance(item, Exception):
            self._error = item
            self._over.set()
        self._items.put(item)

    def __iter__(self) -> Iterator[GenerationEvent]:
        while not (self._over.is_set() and self._items.empty()):
            item = self._items.get()
            if item is None or isinstance(item, Exception):
                break
            yield item
        if self._error is not None:
            raise self._error

    def result(self, timeout: float | None = None) -> list[tuple[Hypothesis, ...]]:
        """The hypotheses of every input, best first. timeout: in seconds. Raises TimeoutError."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"the request has not ended within {timeout} seconds; it goes on until it is cancelled")
        if self._error is not None:
            raise self._error
        return [self._found[index] for index in sorted(self._found)]

    def cancel(self) -> None:
        """Ends it before its next step, if it has not ended. From any thread, any number of times."""
        assert self.job is not None
        self.job.cancelled = True

    @property
    def is_over(self) -> bool:
        return self._over.is_set()


class Scheduler:
    """Decodes in a thread of its own what any threads submit, in batches that requests join and leave at every step.

    A context manager, which waits at its end for what was submitted. A result does not depend on what else is submitted, nor
    when: on the engine bit for bit.
    """

    def __init__(self, runner: Runner, limits: Limits | None = None) -> None:
        self._batcher = Batcher(runner, limits or Limits())
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        """None comes last."""
        self._lock = threading.Lock()
        self._closed = self._gives_up = False
        self._thread = threading.Thread(target=self._work, name="weft-scheduler", daemon=True)
        self._thread.start()
        atexit.register(self.close, cancel=True)  # the engine must not be at work while Python ends

    def submit(self, sources: Sequence[Ids] | None, options: GenerationOptions, **given: Any) -> Ticket:
        """A request of one or more inputs, decoded beside others; what weft.decode.loop.prepare takes. From any thread.

        Raises UsageError and WindowError for a request that cannot be decoded, also one that would never fit the limits.
        """
        ticket = Ticket()
        ticket.job = self._batcher.job(sources, options, ticket.tell, **given)
        with self._lock:
            if self._closed:
                raise UsageError("the scheduler is closed, so that it takes no more requests; open another one")
            self._inbox.put(ticket.job)
        return ticket

    def close(self, cancel: bool = False) -> None:
        """Take no more requests, and wait until those that came have ended; cancel: before their next steps."""
        with self._lock:
            if not self._closed:
                self._inbox.put(None)
            self._closed = True
        self._gives_up |= cancel
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close(cancel=kind is not None)

    # ------------------------------------------------------------ the thread that decodes

    def _work(self) -> None:
        batcher, is_open = self._batcher, True
        while is_open or batcher.is_busy:
            for job in self._arrivals(wait=is_open and not batcher.is_busy):
                if job is None:
                    is_open = False
                else:
                    batcher.waiting.append(job)
            for job in (*batcher.waiting, *batcher.running) if self._gives_up else ():
                job.cancelled = True
            batcher.step()

    def _arrivals(self, wait: bool) -> Iterator[Job | None]:
        """What has come since; wait: until something comes."""
        try:
            while True:
                yield self._inbox.get(block=wait)
                wait = False
        except Empty:
            return
