"""Command-line flags from the fields of an options dataclass: `top_k: int` becomes --top-k INT."""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from weft.backends import AUTO, BACKENDS, PRECISIONS
from weft.errors import UnknownNameError, UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.presets import PRESETS
from weft.spec.ranges import check_number


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


def add_flags(parser: argparse.ArgumentParser, options: type, names: dict[str, tuple[str, ...]] | None = None) -> Any:
    """One flag per field, under the heading of its group, with its help; absent ones stay out of the namespace.

    names: more spellings of a field. Returns the last group.
    """
    hints = get_type_hints(options)
    group: Any = parser
    for field in dataclasses.fields(options):
        if "group" in field.metadata:
            group = parser.add_argument_group(field.metadata["group"])
        if field.metadata.get("cli", True) and not field.metadata.get("positional"):
            flags = [f"--{field.name.replace('_', '-')}", *(names or {}).get(field.name, ())]
            group.add_argument(*flags, dest=field.name, default=argparse.SUPPRESS, **_kind(hints[field.name], field))
    return group


def add_backend_flags(parser: argparse.ArgumentParser) -> None:
    """What runs a model."""
    group = parser.add_argument_group("what runs the model")
    group.add_argument("--backend", choices=BACKENDS, default="auto",
                       help="the native engine or PyTorch; auto: the engine, if it knows all of the model (default: auto)")
    group.add_argument("--precision", choices=PRECISIONS, default="auto",
                       help=f"compute in; int8 on the engine only; auto: there {AUTO['native']}, of imported models "
                            f"{AUTO['imported']}, on PyTorch {AUTO['torch']} (default: auto)")


def backend_options(namespace: argparse.Namespace) -> dict[str, Any]:
    """What was given of it, as keyword arguments of weft.load."""
    return {"backend": namespace.backend, "precision": namespace.precision}


def add_generation_flags(parser: argparse.ArgumentParser) -> None:
    """The options of decoding."""
    last = add_flags(parser, GenerationOptions, {"beams": ("--beam",)})
    last.add_argument("--preset", default=argparse.SUPPRESS, metavar="NAME",
                      help=f"how another tool does it: {', '.join(PRESETS)}; other flags override it")


def generation_options(namespace: argparse.Namespace) -> dict[str, Any]:
    """What was given of them, as keyword arguments of Model.options."""
    return given(namespace, GenerationOptions) | ({"preset": namespace.preset} if "preset" in namespace else {})


def _kind(hint: Any, field: dataclasses.Field) -> dict[str, Any]:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    shown = field.metadata.get("help", "").replace("%", "%%")
    if field.default not in (None, "", ()) and not isinstance(field.default, bool):
        shown += f" (default: {field.default})"
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction, "help": shown}
    metavar = field.metadata.get("metavar")
    if metavar:
        several = get_origin(hint) is tuple and not field.metadata.get("text")
        read, ids = _READERS["ROW" if field.metadata.get("words") or field.metadata.get("text") else metavar]
        return {"type": read, "metavar": metavar, "help": shown + ids + "; may be given several times" * several} | (
            {"action": "append"} if several else {})
    if get_origin(hint) is tuple:
        return {"nargs": "+", "help": shown, "metavar": "FILE"}
    choices = field.metadata.get("choices")
    if choices:
        return {"choices": choices, "help": shown}
    if hint in (int, float):
        return {"type": _number(hint, field), "help": shown, "metavar": "N" if hint is int else "X"}
    return {"help": shown, "metavar": "TEXT"} | ({"type": _rule(field)} if field.metadata.get("rule") else {})


def _rule(field: dataclasses.Field) -> Callable[[str], str]:
    """Reads what an output must fit; an empty text is refused, for it would leave the output free."""
    def read(text: str) -> str:
        if not text:
            raise UsageError(f"--{field.name.replace('_', '-')} is empty, so there is nothing to fit; give one or leave it out")
        return text
    return read


def _number(kind: type, field: dataclasses.Field) -> Callable[[str], Any]:
    """Reads a number; what is none is refused with the interval and the nearest one."""
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            default = None if field.default is dataclasses.MISSING else field.default
            check_number(f"--{field.name.replace('_', '-')}", text, kind, field.metadata.get("within"), default,
                         field.metadata.get("means"))
    return read


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def unescaped(text: str) -> str:
    r"""A text in which \n, \t, \r and \\ stand for a line feed, a tab, a carriage return and one backslash."""
    return re.sub(r"\\([ntr\\])", lambda found: _ESCAPES[found[1]], text)


def row(text: str) -> str | tuple[int, ...]:
    r"""Token ids of `id:5,17`; anything else is a text, `\id:5` the one without its backslash."""
    if re.fullmatch(r"id:\d+(,\d+)*", text, re.ASCII):
        return tuple(map(int, text[3:].split(",")))
    return unescaped(text.removeprefix("\\") if text.startswith("\\id:") else text)


def token(text: str) -> str | int:
    """A token by its id, `id:934`, or by its text."""
    found = row(text)
    return found[0] if isinstance(found, tuple) and len(found) == 1 else unescaped(text) if isinstance(found, tuple) else found


def _bias(text: str) -> tuple[str | int, float]:
    name, _, bias = text.rpartition("=")
    try:
        return token(name), float(bias)
    except ValueError:
        raise UsageError(f"--logit-bias {text}: it takes a token and a number, such as --logit-bias the=-2.5") from None


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "TEXT": (unescaped, ""), "ROW": (row, " (ids as id:5,17)"), "TOKEN": (token, " (an id as id:934)"),
    "TOKEN=X": (_bias, " (an id as id:934=X)")}
"""How the value of an option is read, and what its help says of ids."""


def given(namespace: argparse.Namespace, options: type) -> dict[str, Any]:
    """What was given on the command line, as keyword arguments of the dataclass."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: tuple(value) if isinstance(value, list) else value
            for name, value in vars(namespace).items() if name in names}
