"""Command-line flags from the fields of an options dataclass: `top_k: int` becomes --top-k INT."""

from __future__ import annotations

import argparse
import dataclasses
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from weft.errors import UnknownNameError, UsageError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors, and whose help keeps the examples as they are written."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **arguments)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option suggests the nearest."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [name for name in self._option_string_actions if name.startswith("--")]
            raise UnknownNameError(f"option of {self.prog}", unknown[0].split("=")[0], options)
        return found

    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help")


def new_folder(name: str, overwrite: bool) -> Path:
    """A folder to write into. Raises UsageError where it holds something, unless that may be overwritten."""
    path = Path(name)
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not overwrite:
        raise UsageError(f"{path} is there already and not an empty folder; choose another, or --overwrite")
    return path


def add_flags(parser: argparse.ArgumentParser, options: type, names: dict[str, tuple[str, ...]] | None = None) -> None:
    """One flag per field, with its help; absent ones stay out of the namespace. names: more spellings of a field."""
    hints = get_type_hints(options)
    for field in dataclasses.fields(options):
        if field.metadata.get("cli", True) and not field.metadata.get("positional"):
            flags = [f"--{field.name.replace('_', '-')}", *(names or {}).get(field.name, ())]
            parser.add_argument(*flags, dest=field.name, default=argparse.SUPPRESS, **_kind(hints[field.name], field))


def _kind(hint: Any, field: dataclasses.Field) -> dict[str, Any]:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    shown = field.metadata.get("help", "").replace("%", "%%")
    if field.default not in (None, "", ()) and not isinstance(field.default, bool):
        shown += f" (default: {field.default})"
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction, "help": shown}
    if get_origin(hint) is tuple:
        return {"nargs": "+", "help": shown, "metavar": "FILE"}
    choices = field.metadata.get("choices")
    if choices:
        return {"choices": choices, "help": shown}
    kind = hint if hint in (int, float) else str
    return {"type": kind, "help": shown, "metavar": {int: "N", float: "X", str: "TEXT"}[kind]}


def given(namespace: argparse.Namespace, options: type) -> dict[str, Any]:
    """What was given on the command line, as keyword arguments of the dataclass."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: tuple(value) if isinstance(value, list) else value
            for name, value in vars(namespace).items() if name in names}
