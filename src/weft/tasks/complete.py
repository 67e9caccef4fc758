"""Completion: a prompt, and what follows it."""

from __future__ import annotations

from weft.tasks.translate import Translate


class Complete(Translate):
    pass


TASK = Complete()
