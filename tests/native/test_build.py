"""What the build says where it cannot build the engine."""

from __future__ import annotations

import os
from pathlib import Path

from tests.native.building import NATIVE, run, tool


def configure(folder: Path, succeeds: bool, *options: str) -> str:
    """With no compiler in sight."""
    return run(tool("cmake"), "-S", NATIVE, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", *options,
               succeeds=succeeds, PATH=str(folder), CXX="")


def test_without_a_compiler_the_message_says_what_to_do(tmp_path: Path) -> None:
    told = configure(tmp_path / "with", False)
    for part in ("this machine has no C++", "apt install g++", 'pip install ".[torch]" -C cmake.define.WEFT_NATIVE=OFF'):
        assert part in told
    assert "Build files have been written" in configure(tmp_path / "without", True, "-DWEFT_NATIVE=OFF")


def test_a_compiler_that_is_too_old_is_named(tmp_path: Path) -> None:
    """A real one that says of itself that it is GCC 9."""
    tool("c++")
    script = tmp_path / "old"
    script.write_text(f'#!/bin/sh\nexec {tool("c++")} -U__GNUC__ -D__GNUC__=9 "$@"\n')
    script.chmod(0o755)
    told = run(tool("cmake"), "-S", NATIVE, "-B", tmp_path / "build", f"-DCMAKE_CXX_COMPILER={script}", succeeds=False,
               PATH=os.environ["PATH"])
    assert "builds with GCC 11, Clang 14, Xcode 15 or newer, not with GNU 9." in " ".join(told.split())
    assert "CXX=" in told and "WEFT_NATIVE=OFF" in told
