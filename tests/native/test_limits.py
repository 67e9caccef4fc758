"""What the system refuses is an error, and not the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("weft._native", reason="the engine is not built")


def test_threads_that_the_system_does_not_give() -> None:
    """256 stacks, and room for a few."""
    code = ("import resource\n"
            "from weft import _native\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)\n"
            "try: _native.load([], {}, 'float32', 256)\n"
            "except RuntimeError as error: print(error)\n"
            "print(_native.load([], {}, 'float32', 2).threads)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, threads = done.stdout.splitlines()
    assert "of 256 threads can be started" in refused and refused.endswith("; use fewer") and threads == "2"
