"""Frozen dataclass trees to and from plain dictionaries. It knows nothing of models.

A union of dataclasses is told apart by the key `type`, which holds the class's `type` tag. An unknown key is
an error that suggests the nearest known one; every value is checked against its annotation.
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from weft.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """A dataclass tree as dictionaries, lists and scalars; tagged classes carry their `type` first."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = {"type": value.type} if hasattr(type(value), "type") else {}  # type: ignore[attr-defined]
        return tag | {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_dict(item) for item in value]
    return value


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """Build `cls` from what `to_dict` gave. Raises ConfigError that names the key, e.g. `encoder.norm.epsilon`."""
    if not isinstance(data, dict):
        raise ConfigError(f"{path or cls.__name__} is {data!r}; expected a table of keys for {cls.__name__}")
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key not in names and not (key == "type" and hasattr(cls, "type")):
            raise ConfigError(str(UnknownNameError(f"key in {path or cls.__name__}", key, names)))
    values = {key: _convert(hints[key], value, f"{path}.{key}".lstrip(".")) for key, value in data.items()
              if key in names}
    try:
        return cls(**values)
    except TypeError as error:  # a field without default is not there
        missing = [f.name for f in dataclasses.fields(cls)  # type: ignore[arg-type]
                   if f.name not in values and f.default is dataclasses.MISSING
                   and f.default_factory is dataclasses.MISSING]
        raise ConfigError(f"{path or cls.__name__} lacks {', '.join(missing)}") from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, path)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{path}: " + str(UnknownNameError("value", str(value), map(str, get_args(hint)))))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path} is {value!r}; expected a list")
        first, *others = get_args(hint)
        if others != [...] and len(value) != 1 + len(others):
            raise ConfigError(f"{path} is {value!r}; expected {1 + len(others)} values")
        hints = [first] * len(value) if others == [...] else [first, *others]
        return tuple(_convert(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(hints, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, path)  # type: ignore[arg-type]
    return _convert_scalar(hint, value, path)


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} is {value}; expected a finite number")
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{path} is {value!r}, a {type(value).__name__}; expected {hint.__name__}")
    return value


def _convert_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None:
        if type(None) in options:
            return None
        raise ConfigError(f"{path} is null; it needs a value")
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if not classes:
        return _convert(next(option for option in options if option is not type(None)), value, path)
    if not hasattr(classes[0], "type"):
        return from_dict(classes[0], value, path)  # type: ignore[arg-type]
    by_tag = {option.type: option for option in classes}  # type: ignore[union-attr]
    tag = value.get("type") if isinstance(value, dict) else value
    if tag not in by_tag:
        raise ConfigError(f"{path}.type: " + str(UnknownNameError("variant", str(tag), by_tag)))
    return from_dict(by_tag[tag], value if isinstance(value, dict) else {}, path)  # type: ignore[arg-type]
