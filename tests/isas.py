"""The engine's instruction sets on this machine."""

from __future__ import annotations

import os
from functools import cache

from weft import _native


@cache
def machine_isas() -> tuple[str, ...]:
    """Those that the engine has kernels for."""
    found, before = [], os.environ.get("WEFT_ISA")
    for name in ("portable", "avx2", "avx512"):
        os.environ["WEFT_ISA"] = name
        try:
            _native.load([], {}, "float32", 1)
        except RuntimeError:
            continue
        found.append(name)
    os.environ.pop("WEFT_ISA") if before is None else os.environ.update(WEFT_ISA=before)
    return tuple(found)
