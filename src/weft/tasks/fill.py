"""placeholder"""

from __future__ import annotations

from weft.tasks.translate import Translate


class Fill(Translate):
    pass


TASK = Fill()
