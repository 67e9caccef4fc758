"""Embedding: a text, one vector. Nothing is trained for it here; imported encoders have it."""

from __future__ import annotations

from weft.tasks.task import Task


class Embed(Task):
    kind = "encoder-only"


TASK = Embed()
