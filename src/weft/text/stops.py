"""Stop strings: texts that end a generation and are no part of it."""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.tokenizer import Tokenizer


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of `stops` begins in `text`; None if none is there."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


def may_complete(tokenizer: Tokenizer, stops: Sequence[str], token: int) -> bool:
    """Whether one of `stops` may end within what a token adds to a text: never wrongly False."""
    if not tokenizer.spells or any("\ufffd" in stop for stop in stops):  # which stands for bytes that are no text, too
        return True
    added, spelt = tokenizer.bytes_of(token), [stop.encode() for stop in stops]
    return any(stop in added or any(added.startswith(stop[place:]) for place in range(1, len(stop))) for stop in spelt)


class StopFilter:
    """Passes text on as it comes, but nothing of a stop string, nor what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops, self._held, self.stopped = tuple(stops), "", False

    def push(self, text: str) -> str:
        """What of the text so far is safe to show."""
        if self.stopped:
            return ""
        self._held += text
        end = first_stop(self._held, self.stops)
        if end is not None:
            self.stopped = True
            return self._release(end)
        return self._release(len(self._held) - max((_overlap(self._held, stop) for stop in self.stops), default=0))

    def flush(self) -> str:
        """What was held back and became no stop string."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
