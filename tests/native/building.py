"""Running the tools that build native/, found beside this Python and on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def tool(name: str) -> str:
    """Where it is; without it the test is skipped."""
    return shutil.which(name, path=PATH) or pytest.skip(f"needs {name}")


def run(*command: str | Path, succeeds: bool = True, **environment: str) -> str:
    """What it prints."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PATH": PATH} | environment)
    assert (done.returncode == 0) == succeeds, done.stdout
    return done.stdout
