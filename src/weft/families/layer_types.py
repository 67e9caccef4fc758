"""Which layers see only a window, as foreign configs list them: `layer_types`, one name a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from weft.errors import ConfigError
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

Pattern = tuple[Literal["local", "global"], ...]
KINDS: dict[str, Literal["local", "global"]] = {"sliding_attention": "local", "full_attention": "global"}
NAMES = {kind: name for name, kind in KINDS.items()}


def read_layer_types(foreign: ForeignConfig, window: int | None, default: Sequence[str]) -> tuple[int | None, Pattern]:
    """(window, pattern) of the stack, without what makes no difference: a window that no layer has, a pattern of one kind.

    window: `sliding_window`. default: layer types where none are listed."""
    names, layers = foreign.get("layer_types", list(default)), foreign.need("num_hidden_layers")
    unknown = sorted({str(name) for name in names} - set(KINDS))
    if unknown:
        raise ConfigError(f"the checkpoint's config.json has layer_types {', '.join(unknown)}, which Weft does not do; it does "
                          f"{' and '.join(KINDS)}")
    if len(names) != layers:
        raise ConfigError(f"the checkpoint's config.json has {len(names)} layer_types for num_hidden_layers = {layers}")
    kinds = tuple(KINDS[name] for name in names)
    if "local" in kinds and window is None:
        raise ConfigError("the checkpoint's config.json has sliding_attention among its layer_types, but no sliding_window")
    if "local" not in kinds:
        return None, ()
    return window, shortest(kinds) if "global" in kinds else ()


def shortest(kinds: Pattern) -> Pattern:
    """The shortest pattern that gives these layers when it is repeated."""
    return next(kinds[:size] for size in range(1, len(kinds) + 1)
                if all(kind == kinds[layer % size] for layer, kind in enumerate(kinds)))


def write_layer_types(stack: c.TransformerStack) -> list[str]:
    return [NAMES["local" if stack.is_local(layer) else "global"] for layer in range(stack.layers)]
