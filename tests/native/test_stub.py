"""The stub of the engine tells of what the engine has, no more and no less."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import weft

_native = pytest.importorskip("weft._native", reason="the engine is not built")
STUB = ast.parse(Path(weft.__file__).with_name("_native.pyi").read_text("utf-8"))


def arguments(node: ast.FunctionDef) -> int:
    return len(node.args.posonlyargs) + len(node.args.args)


def stubbed() -> dict[str, int | None]:
    """Name -> number of arguments, None for properties and classes."""
    found: dict[str, int | None] = {}
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = arguments(node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = None
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    is_property = any(ast.unparse(mark) == "property" for mark in inner.decorator_list)
                    found[f"{node.name}.{inner.name}"] = None if is_property else arguments(inner)
    return found


def built() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name, member in vars(_native).items():
        if name.startswith("_"):
            continue
        found[name] = signature(member)
        if isinstance(member, type):
            found |= {f"{name}.{inner}": signature(value) for inner, value in vars(member).items()
                      if not inner.startswith("__") or (inner in ("__init__", "__len__") and signature(value) is not None)}
    return found


def signature(member: object) -> int | None:
    """Number of arguments, as nanobind tells it: `def name(self, arg: ndarray[dtype=int32, ...], /) -> None`."""
    told = getattr(member, "__nb_signature__", None)
    if not told:
        return None
    plain = re.sub(r"\\\d+", "None", re.sub(r"ndarray\[[^]]*]", "object", told[0][0]))  # \\0: a default
    node = ast.parse(plain + ": ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    return arguments(node)


def test_stub() -> None:
    assert stubbed() == built()
