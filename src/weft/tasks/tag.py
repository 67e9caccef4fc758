"""placeholder"""

from __future__ import annotations

from weft.tasks.translate import Translate


class Tag(Translate):
    pass


TASK = Tag()
