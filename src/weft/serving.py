"""A Model for many threads at once, whose texts are decoded together although they come when they like.

    with weft.Serving(weft.load("fr-en")) as serving:
        serving.translate("Bonjour.", beams=4)  # in any thread, as often as you like

It knows no protocol: a server calls it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from copy import copy
from typing import Any

from weft.decode.batcher import Limits
from weft.decode.scheduler import Scheduler
from weft.errors import UsageError
from weft.model import Model
from weft.spec.decoding import GenerationOptions
from weft.spec.events import GenerationEvent, Hypothesis
from weft.spec.runner import TextRunner


class Serving(Model):
    """Does all that the model does, with the same results, from any thread.

    Texts that threads generate from join and leave a batch at every step (continuous batching), each with options of its own.
    Where they cannot be read in one pass they take turns, step by step: on PyTorch, in an ensemble, with a draft, lookup,
    contrastive search or a coverage penalty, and where angles go by a text's length. Closing an iterator of `stream` cancels
    its text. A context manager, which waits at its end for what was asked before.
    """

    def __init__(self, model: Model, *, rows: int = 64, positions: int = 1 << 15, chunk: int = 256) -> None:
        """rows: of the batch, `beams` for each draw of a text. positions: tokens that caches may hold, counted as if every text
        used all of its limit. chunk: tokens of sources and prompts that are read between two steps of other texts. Texts that
        do not fit wait, in order; one that never would raises UsageError. Raises UsageError for a model that does not generate.
        """
        model._needs_decoder()
        self.__dict__ |= model.__dict__
        self._shared_runner, self._own = model.runner, threading.local()
        self._scheduler = Scheduler(self._shared_runner, Limits(rows, positions, chunk))

    @property
    def runner(self) -> TextRunner:
        """Of this thread."""
        if not hasattr(self._own, "runner"):
            self._own.runner = copy(self._shared_runner)
        found: TextRunner = self._own.runner
        return found

    @property
    def notices(self) -> list[str]:  # type: ignore[override]
        """Of this thread."""
        found: list[str] = self._own.__dict__.setdefault("notices", [])
        return found

    def close(self, cancel: bool = False) -> None:
        """Generate nothing more, and wait for what is on its way; cancel: give it up, which raises UsageError where it is
        waited for."""
        self._scheduler.close(cancel)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close(cancel=kind is not None)

    def _events(self, rows: list[list[int]], options: GenerationOptions, **given: Any) -> Iterator[GenerationEvent]:
        _check(options)
        ticket = self._scheduler.submit(**self._as_inputs(rows), options=options, **given)
        try:
            yield from ticket
        finally:
            ticket.cancel()

    def _hypotheses(self, rows: list[list[int]], options: GenerationOptions, **given: Any) -> list[tuple[Hypothesis, ...]]:
        """Each row is a request of its own, so that some may begin before there is room for all."""
        _check(options)
        seeds, streams = given.pop("seeds"), given.pop("streams")
        tickets = [self._scheduler.submit(**self._as_inputs([row]), options=options, seeds=[seed], streams=[stream],
                                          steps=False, **given)
                   for row, seed, stream in zip(rows, seeds, streams, strict=True)]
        try:
            return [ticket.result()[0] for ticket in tickets]
        finally:
            for ticket in tickets:
                ticket.cancel()


def _check(options: GenerationOptions) -> None:
    if options.shortlist:
        raise UsageError("shortlist is not for weft.Serving, whose texts share the output layer; leave it out")
