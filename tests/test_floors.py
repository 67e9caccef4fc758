"""Imports go only downwards: every `weft` import stands on a lower floor, or on its own without a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "weft"
FLOORS = {
    "errors": 0, "spec": 0,
    "text": 1, "families": 1, "metrics": 1,
    "nn": 2, "tensors": 2, "bundle": 2, "card": 2, "data": 2, "convert": 2, "foreign_weights": 2,
    "pooling": 2, "beside": 2, "_native": 2,
    "decode": 3, "backends": 3, "tasks": 3, "model": 3, "ensembles": 3, "serving": 3,
    "train": 4, "inspect": 4, "bench": 4,
    "cli": 5, "serve": 5,
}
TORCH_FREE = ("errors", "spec", "text", "families", "metrics", "tensors", "convert", "foreign_weights", "pooling",
              "beside", "bundle", "card", "data", "decode", "tasks")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import, those for type checkers left out."""
    found = []
    tree = ast.parse(path.read_text("utf-8"))
    hidden = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
              for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "weft":
            found += [(node.lineno, f"weft.{alias.name}") for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if part(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    own = part(path)
    assert own in FLOORS, f"{path}: put {own!r} on a floor"
    for line, module in imports(path):
        if module.startswith("weft."):
            other = module.split(".")[1]
            assert FLOORS[other] <= FLOORS[own], f"{path}:{line} imports {module}, floor {FLOORS[other]} above {FLOORS[own]}"
        if own in TORCH_FREE:
            assert module.split(".")[0] != "torch", f"{path}:{line} imports torch, and {own} must run without it"


def test_parts_of_one_floor_do_not_import_in_a_circle() -> None:
    edges = {name: set() for name in FLOORS}
    for path in FILES:
        edges[part(path)] |= {module.split(".")[1] for _, module in imports(path) if module.startswith("weft.")}
    for start in FLOORS:
        reached, stack = set(), [other for other in edges[start] if other != start]
        while stack:
            name = stack.pop()
            assert name != start, f"{start} imports itself through others"
            if name not in reached:
                reached.add(name)
                stack += [other for other in edges[name] if other != name]
