"""placeholder"""

from __future__ import annotations

from weft.tasks.translate import Translate


class Embed(Translate):
    pass


TASK = Embed()
