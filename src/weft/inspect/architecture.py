"""A model's resolved architecture as text: parts, formula of a block, shapes, parameters, size and work. Pure Python."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weft.spec import config as c
from weft.spec.parameters import Table, count, parameters
from weft.spec.tagged import to_dict


def describe(config: c.ModelConfig, *, bytes_each: float = 4.0, every_layer: bool = False) -> str:
    """Lines of text. bytes_each: of a stored parameter. every_layer: list the parameters of each layer."""
    table = parameters(config)
    return "\n".join([*_head(config, bytes_each), "", *_stacks(config), *_table(table, every_layer), "", *_work(config)])


def _head(config: c.ModelConfig, bytes_each: float) -> Iterator[str]:
    total = count(config)
    yield f"{config.kind}, {total:,} parameters, {total * bytes_each / 1e6:,.1f} MB"
    window = {"encoder-decoder": f"{config.window.source} source, {config.window.target} target",
              "encoder-only": f"{config.window.source}", "decoder-only": f"{config.window.target}"}[config.kind]
    yield f"vocabulary V = {config.vocabulary:,}, width D = {config.width:,}, window {window} tokens"
    sized = {} if config.embedding_size != config.width else {"projection": ""}
    yield f"embedding: {_fields(to_dict(config.embedding) | sized)}"
    yield f"head: {_fields(config.head)}"
    yield f"special tokens: {_fields(config.special)}"


def _fields(part: object) -> str:
    values = dict(to_dict(part)) if not isinstance(part, dict) else dict(part)
    name = values.pop("type", "")
    shown = ", ".join(f"{key} {_value(value)}" for key, value in values.items() if _said(value))
    return f"{name} ({shown})" if name and shown else name or shown


def _said(value: object) -> bool:
    return value is not None and value is not False and value not in ([], "")


def _value(value: object) -> str:
    if isinstance(value, dict):
        rest = dict(value)
        name = rest.pop("type", "")
        inner = ", ".join(f"{key} {_value(item)}" for key, item in rest.items() if _said(item))
        return f"{name} ({inner})".strip() if inner else str(name)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value[:8])) + (", ..." if len(value) > 8 else "") + "]"
    return "yes" if value is True else str(value)


def _stacks(config: c.ModelConfig) -> Iterator[str]:
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        if isinstance(stack, c.TransformerStack):
            yield f"{name}: {stack.layers} layers"
            for field in ("attention", "feed_forward", "norm", "position"):
                yield f"  {field}: {_fields(getattr(stack, field))}"
            if stack.local_position is not None:
                yield f"  position in local layers: {_fields(stack.local_position)}"
            yield from (f"  x := {line}" for line in _formula(stack, name == "decoder" and config.encoder is not None))
            if stack.pattern:
                kinds = ["local" if stack.is_local(layer) else "global" for layer in range(stack.layers)]
                yield f"  local layers: {kinds.count('local')} of {stack.layers}"
            yield ""
        elif stack is not None:
            yield f"{name}: {_fields(stack)}"
            yield ""


def _formula(stack: c.TransformerStack, cross: bool) -> Iterator[str]:
    """What a block does to x, one line a residual."""
    norm = {"layer_norm": "LN", "rms_norm": "RMS"}[stack.norm.type]
    inner = stack.feed_forward
    activation = inner.activation
    body = f"W_down ({activation}(W_gate y) * W_up y)" if inner.gated else f"W_down {activation}(W_up y)"
    yield f"embedding{' + position' if stack.position.type in ('sinusoidal', 'learned') else ''}" + (
        f", then {norm}" if stack.embedding_norm else "")
    sublayers = ["attention(y, y)", *(["attention(y, source)"] if cross else []), body]
    if stack.residual == "parallel":
        yield f"x + attention(y, y) + {body}, y = {norm}(x)"
    elif stack.residual == "parallel_norms":
        yield f"x + attention({norm}(x)) + {body}, y = {norm}'(x)"
    else:
        for part in sublayers:
            yield {"post": f"{norm}(x + {part}), y = x", "pre": f"x + {part}, y = {norm}(x)",
                   "sandwich": f"x + {norm}({part}), y = {norm}(x)",
                   "pre_normed": f"y + {part}, y = {norm}(x)"}[stack.placement]
    if stack.final_norm:
        yield f"{norm}(x), after the last layer"


def _table(table: Table, every_layer: bool) -> Iterator[str]:
    """Name, shape, size of every parameter; those of equal layers once."""
    rows: dict[str, list[str]] = {}
    for name in table:
        key = name if every_layer else re.sub(r"\.blocks\.(\d+)\.", ".blocks.*.", name)
        rows.setdefault(f"{key} {table[name].shape}", []).append(name)
    width = max(len(key.split(" ")[0]) for key in rows)
    yield f"{'parameter':{width}}  {'shape':>16}  {'each':>13}  layers"
    for key, names in rows.items():
        row = table[names[0]]
        shape = " x ".join(map(str, row.shape))
        note = f"tied to {row.tie}" if row.tie else str(len(names))
        yield f"{key.split(' ')[0]:{width}}  {shape:>16}  {row.size:>13,}  {note}"


def _work(config: c.ModelConfig) -> Iterator[str]:
    """Multiplications and additions of a forward pass, by the matrices that a token goes through."""
    table = parameters(config)
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        if stack is None:
            continue
        matrices = sum(row.size for key, row in table.items() if key.startswith(f"{name}.") and len(row.shape) == 2
                       and ".position." not in key and "relative_bias" not in key)
        line = f"{name}: {2 * matrices / 1e6:,.1f} MFLOP a token"
        if isinstance(stack, c.TransformerStack):
            heads = stack.attention.heads * config.head_size(stack.attention)
            line += f", and {4 * heads * stack.layers / 1e3:,.1f} kFLOP for every token it looks at"
        yield line
    if config.outputs:
        yield f"head: {2 * config.outputs * config.head_width / 1e6:,.1f} MFLOP a position"
