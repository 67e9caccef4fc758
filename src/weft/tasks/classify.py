"""placeholder"""

from __future__ import annotations

from weft.tasks.translate import Translate


class Classify(Translate):
    pass


TASK = Classify()
