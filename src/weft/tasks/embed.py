"""Embedding: a text, one vector. Nothing is trained for it here; imported encoders have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weft.errors import UsageError
from weft.tasks.task import Example, Task

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions


class Embed(Task):
    kind = "encoder-only"

    def read(self, paths: Sequence[Path], options: TrainingOptions) -> list[Example]:
        raise UsageError("nothing is trained for the task embed; import an encoder, and model.embed(...) uses it")


TASK = Embed()
