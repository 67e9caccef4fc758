"""What a caller hands in to be decoded: texts and rows of token ids, one or several, and their seeds. Checked here."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from weft.errors import UsageError
from weft.spec.ranges import COUNT, check_number, shown

Ids = Sequence[int]
Input = str | Ids
IDS = "expected token ids (whole numbers) in a row, or a text"
_NO_ROW = (str, bytes, Mapping, Set)


def row_of(given: Any, name: str = "the input", wanted: str = "it must be a row of whole numbers") -> list[int]:
    """A list or an array of whole numbers. Raises UsageError."""
    try:
        return [operator.index(token) for token in _listed(given)]
    except (TypeError, UsageError) as error:
        raise UsageError(f"{name} is {shown(given)}; {wanted}") from error


def rows_of(given: Any) -> list[list[int]]:
    """One row or many. Raises UsageError."""
    rows = _listed(given)
    if rows and not isinstance(rows[0], Iterable):
        return [row_of(rows, wanted=IDS)]
    if not rows:
        raise UsageError("no rows of token ids are given")
    return [row_of(row, f"row {place}", IDS) for place, row in enumerate(rows)]


def input_of(given: Any, name: str = "the input") -> Input:
    """A text, or a row of ids as a list. Raises UsageError."""
    return given if isinstance(given, str) else row_of(given, name, IDS)


def inputs_of(given: Any, name: str = "input") -> list[Input]:
    """Several inputs; a text is one. Raises UsageError."""
    items = [given] if isinstance(given, str) else _listed(given)
    return [input_of(item, f"{name} {place + 1}") for place, item in enumerate(items)]


def one_or_several(given: Any) -> list[Input]:
    """One text, one row of ids, or several of either. Raises UsageError."""
    items = [given] if isinstance(given, str) else _listed(given)
    alone = bool(items) and not isinstance(items[0], Iterable)
    return [row_of(items, wanted=IDS)] if alone else inputs_of(items)


def _listed(given: Any) -> list[Any]:
    given = own_kinds(given)
    try:
        if isinstance(given, _NO_ROW):
            raise TypeError("a text, or something without an order")
        return list(given)
    except TypeError as error:
        raise UsageError(f"the input is {shown(given)}; expected token ids (whole numbers) in rows, or texts") from error


def own_kinds(value: Any) -> Any:
    """Numbers and arrays of NumPy or torch as Python's own, and lists as tuples, inside too."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(own_kinds, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Place:
    """Where an input, or a piece of one, stands: its number among all, and its stream among those of its seed."""

    index: int
    seed: int
    stream: int


def places(pieces: Sequence[int], first: int, seed: int, seeds: Sequence[int] | None) -> list[Place]:
    """Of every piece of every input, in order. pieces: how many each has; first: number of the first input."""
    own = [(seed, first + index) for index in range(len(pieces))] if seeds is None else [(one, 0) for one in seeds]
    return [Place(first + index, number, stream + (piece << 32))
            for index, (count, (number, stream)) in enumerate(zip(pieces, own, strict=True)) for piece in range(count)]


def seeds_of(seeds: Any, count: int, options: Mapping[str, Any]) -> list[int]:
    """As a list. Raises UsageError unless there is one for each of `count` inputs, and no `seed` among the options."""
    if "seed" in options:
        raise UsageError("seed and seeds contradict each other; drop one of the two")
    try:
        found = _listed(seeds)
    except UsageError as error:
        raise UsageError(f"seeds is {shown(seeds)}; it must be a list of whole numbers, one for each input (seed is for all)"
                         ) from error
    if len(found) != count:
        raise UsageError(f"{count} inputs, but {len(found)} seeds; give one for each, or seed for all")
    for place, seed in enumerate(found):
        check_number(f"the seed of input {place + 1}", seed, int, COUNT, 0)
    return found
