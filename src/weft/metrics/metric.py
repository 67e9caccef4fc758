"""What a metric is: statistics per segment, an aggregate, and a signature that names all that changes the number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """name: as papers call it; value: of the corpus; signature: what was computed, with versions.

    interval: half the width of the 95% bootstrap confidence interval, if it was asked for.
    """

    name: str
    value: float
    signature: str
    interval: float | None = None

    def __str__(self) -> str:
        spread = "" if self.interval is None else f" ± {self.interval:.2f}"
        return f"{self.name} {self.value:.2f}{spread}   {self.signature}"


Texts = Sequence[str]
