"""What a number may be, and the error that says so: the value, the interval, and the nearest that can be used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.errors import UsageError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Range:
    """An interval of numbers; `above` and `below` leave its ends out."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and (value < self.high if self.below
                                                                            else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:g}"
        if self.high == math.inf:
            return low if self.above else f"{low} or more"
        return f"{low} to {'below ' if self.below else ''}{self.high:g}"

    def nearest(self, value: float) -> float:
        """The number inside that is nearest; beside an end that is left out, one at a hundredth of a unit."""
        if value in self:
            return value
        if value <= self.low:
            return self.low + 0.01 if self.above else self.low
        return self.high - 0.01 if self.below else self.high


COUNT, SHARE, FACTOR = Range(0), Range(0, 1), Range(0.01, 100)
LARGEST = 10**100
"""Of whole numbers without another limit, such as seeds: they stay numbers that can be written and counted with."""


def check_number(name: str, value: Any, kind: type, within: Range | None = None, default: Any = None,
                 means: Mapping[float, str] | None = None) -> None:
    """kind: int, float, bool or str. default: what is used where nothing is given. means: what some values say, in words.

    Raises UsageError with the interval and the nearest value that can be used.
    """
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        wanted = f"{_KINDS[kind]}{f', {within}' if within else ''}"
    elif isinstance(value, int) and abs(value) > LARGEST:
        wanted = f"{within or 'a whole number'}, and not beyond 1e100"
    elif within is None or value in within:
        return
    else:
        wanted = str(within)
    raise UsageError(f"{name} is {shown(value)}; it must be {wanted}{_way_out(value, kind, within, default, means or {})}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises UsageError, with the nearest, for a value that is none of them."""
    if not isinstance(value, str) or value not in choices:
        from difflib import get_close_matches  # here, for every start of the command would wait for it

        near = get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        *others, last = [repr(choice) for choice in choices]
        raise UsageError(f"{name} is {shown(value)}; it must be {', '.join(others)} or {last}"
                         f"{f'; the nearest is {near[0]!r}' if near else ''}")


def _way_out(value: Any, kind: type, within: Range | None, default: Any, means: Mapping[float, str]) -> str:
    """The nearest value, and what it means; the default where nothing is near."""
    near = _nearest(value, kind, within)
    if near is None:
        shown_default = default if kind is bool else f"{default:g}" if kind in (int, float) and default is not None else None
        return "" if shown_default is None else f"; leave it out for {shown_default}{_meaning(default, means)}"
    if within is not None and within.above and near == within.nearest(within.low):
        return f"; the nearest is just above {within.low:g}, such as {near:g}"
    if within is not None and within.below and near == within.nearest(within.high):
        return f"; the nearest is just below {within.high:g}, such as {near:g}"
    return f"; the nearest is {near:g}{_meaning(near, means)}"


def _meaning(value: Any, means: Mapping[float, str]) -> str:
    return f", which is {means[value]}" if value in means else ""


def _nearest(value: Any, kind: type, within: Range | None) -> float | None:
    """None where a value is no number, not even as a text, or kind is none."""
    try:
        number = float(value) if kind in (int, float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None
    near = within.nearest(number) if within is not None and not math.isnan(number) else number
    return round(near) if kind is int and math.isfinite(near) else near if math.isfinite(near) else None


def shown(value: Any, most: int = 60) -> str:
    """A value in an error, cut to `most` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write whole numbers of thousands of digits
        text = f"a value of type {type(value).__name__} too long to write"
    return text if len(text) <= most else f"{text[: most - 1]}…"
