"""Many batches in one session of the engine: their rows are read in one pass, and each batch has a runner of its own, a seat.

Rows of a seat stand next to each other, seats in the order in which they began. What a seat is told waits for the next step:
there all rows are put in order at once, sources of those who begin are encoded in one pass, and all that is due is read,
prompts piece by piece beside the single tokens of others. It knows nothing of requests and strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from weft.spec.runner import Best, Step
from weft.spec.trace import Trace

if TYPE_CHECKING:
    from weft.backends.native import NativeRunner

NONE = np.empty(0, np.int32)
Place = tuple[Step, int, int]
"""A step, and from where to where its rows stand among all tokens that were read."""


class NativeTogether:
    """`weft.spec.runner.Together` on the engine."""

    def __init__(self, reader: NativeRunner, chunk: int, most: int) -> None:
        """reader: a runner of its own, for what takes no row. chunk, most: tokens of sources and prompts that are read in a
        step, where other batches wait for their next token and where none does; a source is read as a whole."""
        from weft import _native

        self.reader, self.chunk, self.most = reader, chunk, most
        self.session = _native.Session(reader.model)
        self.seats: list[Seat] = []
        """In the order of their rows."""

    def seat(self) -> Seat:
        return Seat(self)

    def step(self, asked: Sequence[Step]) -> None:
        steps: dict[Any, Step] = {step.runner: step for step in asked}
        try:
            room = self.chunk if any(not seat.unread for seat in self.seats) else self.most
            room = max(0, room - self._begin(steps, room))
            self._put_in_order(steps)
            if self.seats:
                self._answer(self._read(steps, room))
        except BaseException:
            self.session.gather(NONE)  # some rows may have read what others have not
            self.seats = []
            raise

    def _put_in_order(self, steps: dict[Any, Step]) -> None:
        """Rows of the seats that go on, as each wants its own."""
        kept, order, first = [], [], 0
        for seat in self.seats:
            if seat in steps:
                kept.append(seat)
                order += [first + row for row in seat.wanted]
            first += seat.held
        if order != list(range(first)):
            self.session.gather(np.array(order, np.int32))
        self.seats = kept
        for seat in kept:
            seat.settle()

    def _begin(self, steps: dict[Any, Step], room: int) -> int:
        """Rows for those who have none yet, as far as there is room. Returns how much of it their sources took."""
        new, taken = [], 0
        for seat in steps:
            if not seat.held and taken < room:
                new.append(seat)
                taken += sum(map(len, seat.sources))
        try:
            self._join(new)
        except Exception:
            for seat in new:  # whose fault it is
                try:
                    self._join([seat])
                except Exception as error:
                    steps[seat].error = error
        return taken

    def _join(self, seats: Sequence[Seat]) -> None:
        if seats:
            sources = [source for seat in seats for source in seat.sources]
            memory = self.reader.encode(sources)[0] if sources else None
            self.session.join(sum(seat.inputs for seat in seats), memory)
        for seat in seats:
            seat.held = seat.inputs
            self.seats.append(seat)

    def _read(self, steps: dict[Any, Step], room: int) -> list[Place]:
        """The next tokens of all rows that have any. Returns the steps that these make."""
        ids: list[np.ndarray] = []
        counts: list[int] = []
        places: list[Place] = []
        read = 0
        for seat in self.seats:
            if seat.unread:
                parts = seat.next_of_prompts(room)
                room -= sum(map(len, parts))
                ids += parts
                counts += map(len, parts)
            else:
                places.append((steps[seat], read, read + seat.held))
                ids.append(steps[seat].tokens)
                counts += [1] * seat.held
            read = sum(counts)
        self.session.feed(np.concatenate(ids).astype(np.int32), np.array(counts, np.int32), True, [])
        return places

    def _answer(self, places: Sequence[Place]) -> None:
        """Those who want the likeliest tokens, and those who want all logits."""
        hidden = self.session.hidden()
        short = [place for place in places if place[0].best is not None]
        whole = [place for place in places if place[0].best is None]
        if short:
            self._choose(hidden, short)
            width = min(max(step.best or 0 for step, _, _ in short), self.reader.vocabulary_size)
            banned = [list(step.banned) for step, first, last in short for _ in range(first, last)]
            tokens, log_probs = self.session.best(width, banned)
            for step, first, last in _side_by_side(short):
                step.scores = Best(*(np.ascontiguousarray(part[first:last, : step.best]) for part in (tokens, log_probs)))
        if whole:
            self._choose(hidden, whole)
            logits = self.session.logits()
            for step, first, last in _side_by_side(whole):
                step.scores = logits[first:last]

    def _choose(self, hidden: np.ndarray, places: Sequence[Place]) -> None:
        """The head's input: the states of these rows."""
        self.session.put(np.concatenate([hidden[first:last] for _, first, last in places]))


class Seat:
    """A Runner of some of the rows. What takes all rows alike, or tells of a step besides its scores, it does not do."""

    def __init__(self, together: NativeTogether) -> None:
        self._together, runner = together, together.reader
        self.eos, self.start_token = runner.eos, runner.start_token
        self.vocabulary_size, self.max_target = runner.vocabulary_size, runner.max_target
        self.sources: Sequence[Sequence[int]] = ()
        """What is encoded when it begins."""
        self.inputs = self.held = 0
        """Rows that it begins with, one a source or prompt, and those that it has in the session."""
        self.unread: list[np.ndarray] = []
        """What is left of prompts, one a row; empty if nothing of any."""
        self._rows: list[int] = []
        """Which of its rows go on, in order, once prompts have been read."""

    @property
    def wanted(self) -> Sequence[int]:
        """Which of its rows are to stand in the session now."""
        return range(self.held) if self.unread else self._rows

    def settle(self) -> None:
        """They stand there."""
        if not self.unread:
            self.held = len(self._rows)
            self._rows = list(range(self.held))

    def next_of_prompts(self, room: int) -> list[np.ndarray]:
        """Of each row; `room` tokens at most."""
        parts = []
        for row, ids in enumerate(self.unread):
            parts.append(ids[:room])
            self.unread[row] = ids[room:]
            room -= len(parts[-1])
        if not any(map(len, self.unread)):
            self.unread = []
        return parts

    # ------------------------------------------------------------ the verbs

    def encode(self, source: Sequence[Sequence[int]], trace: Trace | None = None) -> Any:
        """The sources themselves, until it begins."""
        return source

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None, trace: Trace | None = None,
              watch: bool = False) -> None:
        if trace is not None or watch or self.held:
            self._refuse()
        self.sources, prompts = memory or (), prefix or ()
        self.inputs = len(self.sources) or len(prompts)
        self.unread = [np.array(row, np.int32) for row in prompts] if any(map(len, prompts)) else []
        self._rows = [row for row in range(self.inputs) for _ in range(copies)]

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = (), trace: Trace | None = None
             ) -> np.ndarray | Best:
        self._refuse()

    def gather(self, rows: np.ndarray) -> None:
        self._rows = [self._rows[row] for row in rows.tolist()]

    def select(self, logits: np.ndarray, best: int) -> Best:
        return self._together.reader.select(logits, best)

    def drop(self, count: int) -> None:
        self._refuse()

    def hidden(self, prompt: bool = False) -> np.ndarray:
        self._refuse()

    def attention(self) -> np.ndarray:
        self._refuse()

    def logits(self, source: Sequence[Sequence[int]] | None, target: Sequence[Sequence[int]]) -> np.ndarray:
        return self._together.reader.logits(source, target)

    def _refuse(self) -> NoReturn:
        raise NotImplementedError("a seat beside others; take a runner of its own (copy.copy)")


def _side_by_side(places: Sequence[Place]) -> list[Place]:
    """Where their rows stand once all others are left out."""
    ends = np.cumsum([last - first for _, first, last in places]).tolist()
    return [(step, end - last + first, end) for (step, first, last), end in zip(places, ends, strict=True)]
