"""The engine, built from native/. It knows operations, not models: weft.backends.native speaks to it, nobody else.

Arrays are NumPy's and C-contiguous. What comes in is checked: ValueError or IndexError for what does not fit.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
"""[count]"""
Floats = npt.NDArray[np.float32]
Line = tuple[str, Sequence[str], Sequence[str], Sequence[str], Mapping[str, int | float | str]]
"""Operation, buffers, weights, their biases, settings."""

def isa() -> str:
    """The instruction set that models run by: the best that this machine has, or that of WEFT_ISA."""

def load(programs: Sequence[tuple[str, Sequence[Line]]], weights: Mapping[str, tuple[str, np.ndarray]], precision: str,
         threads: int, image: tuple[str, int] | None = None) -> Model:
    """weights: name -> (F32, F16 or BF16; the array, of uint16 for narrow ones). They are copied into packed panels.

    image: a file, and where in it `Model.image` of the same model, precision and instruction set begins, its pieces one after
    the other; it is mapped into memory, and of the weights only the shapes are looked at."""

def read_speed(bytes: int, threads: int, seconds: float) -> tuple[float, list[float]]:
    """Bytes read in a pass, and the seconds of each pass: all threads over one buffer, about `seconds` long."""

def product_speed(precision: str, threads: int, seconds: float) -> tuple[float, list[float]]:
    """Operations in a pass (a multiplication and an addition are two), and the seconds of each pass."""

def nearest(logits: npt.NDArray[np.float32], log_sums: Floats, centres: Floats, share: float) -> npt.NDArray[np.float32]:
    """Logits [rows, columns] of the tokens nearest to each row's centre that together have `share` of the probability,
    exp(logit - log_sum) each; -inf for others. log_sums, centres: [rows]."""

def summary(model: Floats, banned: Sequence[int], processed: Sequence[Floats], k: int, rows: npt.NDArray[np.int64],
            tokens: npt.NDArray[np.int64]
            ) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.float64]]:
    """What weft.decode.summary.summary says."""

class Model:
    """Packed weights and programs; any number of sessions, of which one computes at a time."""

    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Of packed matrices."""
    def image(self) -> list[npt.NDArray[np.uint8]]:
        """All that the weights became."""
    def describe(self) -> list[tuple[str, str]]:
        """(program, operation) in order."""

class Memory:
    """What a decoder needs of the texts that an encoder read."""

    def __len__(self) -> int: ...
    def add(self, more: Memory) -> None:
        """Its texts behind those that there are."""

class Session:
    """A batch of texts that is being read or written."""

    def __init__(self, model: Model, /) -> None: ...
    def encode(self, ids: Ids, counts: Ids, types: Ids, wanted: Sequence[str]) -> None:
        """Texts of `counts` tokens each, next to each other. types: empty, or one a token. wanted: names to be seen."""
    def remember(self) -> Memory: ...
    def start(self, sources: int, memory: Memory | None) -> None: ...
    def join(self, sources: int, memory: Memory | None) -> None:
        """More rows beside those that there are."""
    def choose(self, tokens: Ids) -> None:
        """Keep these of the hidden states, rising."""
    def limit(self, lists: Sequence[Sequence[int]]) -> None:
        """`best` chooses among these from now on: rising ids for each source, as its rows stand."""
    def spread(self, copies: int) -> None: ...
    def feed(self, ids: Ids, counts: Ids, whole: bool, wanted: Sequence[str]) -> None:
        """The next `counts` tokens of each row. whole: read as one text, not as if they came one by one."""
    def gather(self, rows: Ids) -> None: ...
    def drop(self, count: int) -> None:
        """Forget the last tokens of every row."""
    def hidden(self) -> Floats:
        """[tokens, D] of what was read last."""
    def put(self, rows: Floats) -> None:
        """[rows, D] in place of what was read, for the head."""
    def logits(self) -> Floats:
        """[rows, outputs]."""
    @overload
    def best(self, k: int, banned: Sequence[Sequence[int]], with_logits: Literal[False] = ...
             ) -> tuple[npt.NDArray[np.int64], Floats]:
        """The k likeliest of each row: ids and log-probabilities [rows, k]. banned: ids for all rows, or a list a row."""
    @overload
    def best(self, k: int, banned: Sequence[Sequence[int]], with_logits: Literal[True]
             ) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """And what `logits` says."""
    def select(self, logits: Floats, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """As `best`, of given logits [rows, columns]."""
    def rows(self) -> int: ...
    def seen(self) -> tuple[Floats, list[tuple[str, int, list[int]]]]:
        """What was wanted of what was read last, once: the values of all, and of each its name, where it begins, and its shape:
        [tokens, 1, D], or of attention [tokens, H, 1, positions of each row's own text], short ones filled up with 0."""
