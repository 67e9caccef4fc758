"""The kernels of every instruction set, and the thread pool, by the C++ programs in native/tests. Built here, in build/."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.native.building import NATIVE, PATH, run, tool

BUILD = NATIVE.parent / "build" / "native-tests"
CONSTANTS = re.compile(r"weft::k(Portable|Avx2|Avx512)$")


@pytest.fixture(scope="module", name="built")
def _built() -> Path:
    if not os.environ.get("CXX"):
        tool("c++")
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    run(tool("cmake"), "-S", NATIVE / "tests", "-B", BUILD, *generator, "-DCMAKE_BUILD_TYPE=Quick")
    run(tool("cmake"), "--build", BUILD, "--parallel", "2")
    return BUILD


def test_kernels_and_pool(built: Path) -> None:
    told = run(tool("ctest"), "--test-dir", built, "--output-on-failure")
    assert "100% tests passed" in told and "kernels_portable" in told
    check_objects(built)


def check_objects(built: Path) -> None:
    """What is compiled for an instruction set has its own names only, and runs nothing when it is loaded: the linker could
    choose its copy of a shared function for everybody, and machines without the instructions would die."""
    objects = list(built.rglob("isa_*.o"))
    assert objects
    for path in objects:
        isa = path.name.removeprefix("isa_").split(".")[0]
        for line in run(tool("nm"), "-C", "--defined-only", path).splitlines():
            kind, name = line.split(maxsplit=2)[1:]
            assert "_GLOBAL__sub_I" not in name, f"{path.name} computes something when it is loaded"
            assert kind not in "WVuTDB" or f"weft::{isa}::" in name or CONSTANTS.search(name), f"{path.name} has {name}"
