"""Weight rules: a checkpoint's tensors to Weft's and back, as a table whose operations carry their inverse.

Operations only move numbers, so that every one survives bit for bit, in whatever kind it is stored. Linear weights
of Weft are [output, input]. `{i}` is not needed: a family writes its rules in a loop over its layers.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

Arrays = list[np.ndarray]


class Operation(Protocol):
    """What happens to the foreign tensors of a rule on the way in (`read`) and out (`write`)."""

    def read(self, theirs: Arrays) -> Arrays: ...

    def write(self, ours: Arrays) -> Arrays: ...


@dataclass(frozen=True)
class Same:
    def read(self, theirs: Arrays) -> Arrays:
        return theirs

    def write(self, ours: Arrays) -> Arrays:
        return ours


@dataclass(frozen=True)
class Transpose:
    """[input, output] (GPT-2's Conv1D)."""

    def read(self, theirs: Arrays) -> Arrays:
        return [array.T for array in theirs]

    write = read


@dataclass(frozen=True)
class Reshape:
    """One tensor of the same numbers in another shape, e.g. [1, V] for [V]."""

    theirs: tuple[int, ...]
    ours: tuple[int, ...]

    def read(self, theirs: Arrays) -> Arrays:
        return [array.reshape(self.ours) for array in theirs]

    def write(self, ours: Arrays) -> Arrays:
        return [array.reshape(self.theirs) for array in ours]


@dataclass(frozen=True)
class Split:
    """One fused tensor, cut along its rows into len(sizes) of ours.

    groups: its rows are that many groups, each with sizes[k] rows of part k, e.g. one group a head (GPT-NeoX, BLOOM).
    """

    sizes: tuple[int, ...]
    groups: int = 1

    def read(self, theirs: Arrays) -> Arrays:
        (whole,) = theirs
        grouped = whole.reshape(self.groups, sum(self.sizes), *whole.shape[1:])
        parts = np.split(grouped, np.cumsum(self.sizes)[:-1], axis=1)
        return [part.reshape(-1, *whole.shape[1:]) for part in parts]

    def write(self, ours: Arrays) -> Arrays:
        grouped = [part.reshape(self.groups, size, *part.shape[1:]) for part, size in zip(ours, self.sizes, strict=True)]
        return [np.concatenate(grouped, 1).reshape(-1, *ours[0].shape[1:])]


@dataclass(frozen=True)
class RotaryPairs:
    """Rows of a query or key projection whose heads pair channels (2i, 2i + 1), to pairs (i, i + dimension / 2).

    dimension: leading channels of a head of `size` that are turned.
    """

    size: int
    dimension: int

    def _move(self, array: np.ndarray, order: np.ndarray) -> np.ndarray:
        heads = array.reshape(-1, self.size, *array.shape[1:])
        return heads[:, order].reshape(array.shape)

    @property
    def _order(self) -> np.ndarray:
        turned = np.arange(self.dimension).reshape(-1, 2).T.reshape(-1)
        return np.concatenate((turned, np.arange(self.dimension, self.size)))

    def read(self, theirs: Arrays) -> Arrays:
        return [self._move(array, self._order) for array in theirs]

    def write(self, ours: Arrays) -> Arrays:
        return [self._move(array, np.argsort(self._order)) for array in ours]


@dataclass(frozen=True)
class Chain:
    """One operation after another on the way in, the last one first on the way out."""

    operations: tuple[Operation, ...]

    def read(self, theirs: Arrays) -> Arrays:
        for operation in self.operations:
            theirs = operation.read(theirs)
        return theirs

    def write(self, ours: Arrays) -> Arrays:
        for operation in reversed(self.operations):
            ours = operation.write(ours)
        return ours


@dataclass(frozen=True)
class Rule:
    """Foreign tensors `theirs` are our tensors `ours`, by `operation`.

    copies: names under which a checkpoint may hold the one foreign tensor too, or only; all that are there must be equal.
    instead: names of a tensor that serves where a checkpoint has none of those.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    operation: Operation = Same()
    copies: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def found_in(self, names: Container[str]) -> Rule:
        """The rule for a checkpoint with these tensors: it reads the first that is there, and compares its copies there."""
        if len(self.theirs) > 1:
            return self
        found = [name for name in (*self.theirs, *self.copies) if name in names]
        if not found:
            return replace(self, theirs=tuple(name for name in self.instead if name in names)[:1] or self.theirs, copies=())
        return replace(self, theirs=(found[0],), copies=tuple(found[1:]))

    def within(self, prefix: str) -> Rule:
        """The rule for a model whose foreign tensors are all named like this."""
        theirs, copies, instead = (tuple(prefix + name for name in names) for names in (self.theirs, self.copies, self.instead))
        return replace(self, theirs=theirs, copies=copies, instead=instead)


def rename(ours: str, theirs: str, parts: Iterable[str] = ("weight",), operation: Operation | None = None) -> list[Rule]:
    """ours.weight <- theirs.weight, and so on for each of `parts`."""
    return [Rule((f"{ours}.{part}",), (f"{theirs}.{part}",), operation or Same()) for part in parts]


def fused(ours: Sequence[str], theirs: str, operation: Operation, parts: Iterable[str] = ("weight",)) -> list[Rule]:
    """Several of ours <- one of theirs, for each of `parts`."""
    return [Rule(tuple(f"{name}.{part}" for name in ours), (f"{theirs}.{part}",), operation) for part in parts]


BOTH = ("weight", "bias")


def parts(bias: bool) -> tuple[str, ...]:
    """The parts of a linear map or norm."""
    return BOTH if bias else ("weight",)
