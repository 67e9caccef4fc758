"""One setting of the C library that a training loop cares about."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_large_blocks() -> None:
    """Let glibc keep freed blocks of any size. By default each large tensor is mapped anew and every page of it
    faults again: measured 8% of a training step (docs/LOG.md). Elsewhere than on glibc this does nothing."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
