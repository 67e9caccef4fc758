"""A ModelConfig -> programs of plain operations, which the native engine runs. It knows the config; the engine does not.

A program is a list of lines: an operation, the buffers that it reads and writes, the parameters that it takes, and settings.
Buffers hold a row of float32 for each token. `x` is the hidden state in every program:

    encoder   texts -> x                  memory   x -> keys and values of every decoder layer
    decoder   tokens -> x                 head     x -> what the output layer takes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from weft.errors import UsageError
from weft.spec import config as c
from weft.spec import positions
from weft.spec.parameters import parameters

SCALINGS = (c.LinearScaling, c.DynamicScaling, c.Llama3Scaling, c.YarnScaling, c.LongRopeScaling)
Setting = int | float | str
Line = tuple[str, list[str], list[str], list[str], dict[str, Setting]]
"""Operation, buffers, weights, their biases, settings."""


@dataclass(frozen=True)
class Constant:
    """float32 numbers that are made of settings, once somebody needs them."""

    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]

    def array(self) -> np.ndarray:
        return np.ascontiguousarray(self.make(), np.float32)


@dataclass
class Lowered:
    """programs: by name, in the order in which they were written. constants: arrays that lines name beside parameters."""

    programs: dict[str, list[Line]] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)

    def names(self) -> Iterator[str]:
        """What the programs can show: the inspection points of weft.spec.trace."""
        for lines in self.programs.values():
            yield from (str(settings["name"]) for *_, settings in lines if "name" in settings)


def lower(config: c.ModelConfig, weights: Mapping[str, np.ndarray]) -> Lowered:
    """weights: float32 parameters that constants are made of (relative biases), by name.

    Raises UsageError for a part that the engine does not know.
    """
    if part := unknown_part(config):
        raise UsageError(f"the native engine does not know {part}; use the torch backend: pip install 'weft[torch]' and "
                         f"--backend torch")
    lowered = Lowered()
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        if isinstance(stack, c.TransformerStack):
            lowered.programs[name] = _Stack(config, stack, name, lowered, weights).lines
        if name == "encoder" and isinstance(config.decoder, c.TransformerStack) and stack is not None:
            lowered.programs["memory"] = _memory(config, config.decoder)
    lowered.programs["head"] = _head(config)
    return lowered


def unknown_part(config: c.ModelConfig) -> str:
    """What of a model the engine does not know; empty if it knows all of it."""
    for stack in (config.encoder, config.decoder):
        if isinstance(stack, c.RecurrentStack):
            return "recurrent stacks"
        for rotary in () if stack is None else (stack.position, stack.local_position):
            scaling = rotary.scaling if isinstance(rotary, c.Rotary) else None
            if scaling is not None and not isinstance(scaling, SCALINGS):
                return f"{scaling.type} scaling of rotary positions"
            if isinstance(scaling, c.LongRopeScaling) and config.kind == "encoder-decoder":
                return "longrope scaling of rotary positions in an encoder-decoder"
    return ""


class _Writer:
    """Lines of a program, with the names of parameters resolved."""

    def __init__(self, config: c.ModelConfig) -> None:
        self.config, self.table, self.lines = config, parameters(config), list[Line]()

    def write(self, operation: str, *buffers: str, weights: list[str] | None = None, biases: list[str] | None = None,
              **settings: Setting) -> None:
        self.lines.append((operation, list(buffers), weights or [], biases or [], settings))

    def linear(self, read: str, written: str, *names: str, activation: str = "none", residual: bool = False) -> None:
        self.write("linear", read, written, weights=[self.stored(f"{name}.weight") for name in names],
                   biases=self.biases(*names), activation=activation, residual=int(residual))

    def biases(self, *names: str) -> list[str]:
        found = [f"{name}.bias" if f"{name}.bias" in self.table else "" for name in names]
        return found if any(found) else []

    def norm(self, read: str, written: str, name: str, norm: c.Norm, size: int, start: int = 0, groups: int = 1) -> None:
        """Over `groups` parts of `size` from `start` on."""
        rms = isinstance(norm, c.RMSNorm)
        weights = [f"{name}.weight", *([f"{name}.bias"] if f"{name}.bias" in self.table else [])]
        self.write("norm", read, written, weights=weights, start=start, groups=groups, size=size,
                   norm="rms" if rms else "layer", epsilon=norm.epsilon,
                   offset=norm.offset if isinstance(norm, c.RMSNorm) else 0.0)

    def stored(self, name: str) -> str:
        """The parameter whose tensor this one is."""
        return self.table[name].tie or name


class _Stack(_Writer):
    """The program of an encoder or a decoder."""

    def __init__(self, config: c.ModelConfig, stack: c.TransformerStack, name: str, lowered: Lowered,
                 weights: Mapping[str, np.ndarray]) -> None:
        super().__init__(config)
        self.stack, self.name, self.lowered = stack, name, lowered
        self.causal = name == "decoder"
        self.size = config.head_size(stack.attention)
        self.heads, self.keys = stack.attention.heads, c.key_value_heads(stack.attention)
        self.bias, self.bias_weights = self._bias(weights)
        self._embed()
        self._angles()
        for layer in range(stack.layers):
            self._block(layer)
        if stack.final_norm:
            self.norm("x", "x", f"{name}.final_norm", stack.norm, config.width)
        self.write("tap", "x", name=f"{name}.hidden")
        self.write("hidden", "x")

    def constant(self, name: str, array: np.ndarray) -> str:
        return self.later(name, array.shape, lambda: array)

    def later(self, name: str, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> str:
        name = f"{self.name}.{name}"
        self.lowered.constants[name] = Constant(shape, make)
        return name

    # ------------------------------------------------------------ before the blocks

    def _embed(self) -> None:
        config, stack, size = self.config, self.stack, self.config.embedding_size
        e = "x" if size == config.width else "e"
        scale = config.width**0.5 if config.embedding.scale == "sqrt_width" else 1.0
        table = "source_embedding.weight" if self.name == "encoder" else "target_embedding.weight"
        self.write("embed", e, weights=[self.stored(table)], scale=scale)
        if e != "x" and config.embedding.projection == "before":
            self.linear(e, "x", "embedding_projection")
            e, size = "x", config.width
        if config.embedding.types:
            self.write("add_rows", e, weights=["type_embedding.weight"], offset=0, by_type=1)
        position = stack.position
        if isinstance(position, c.Sinusoidal):
            length = (config.window.source if self.name == "encoder" else config.window.target) + position.offset
            name = self.later("sinusoids", (length, size), partial(positions.sinusoidal, position, size, length))
            self.write("add_rows", e, weights=[name], offset=position.offset, by_type=0)
        elif isinstance(position, c.Learned):
            self.write("add_rows", e, weights=[f"{self.name}.position.weight"], offset=position.offset, by_type=0)
        if stack.embedding_norm:
            self.norm(e, e, f"{self.name}.embedding_norm", stack.norm, size)
        self.write("tap", e, name=f"{self.name}.embedding")
        if e != "x":
            self.linear(e, "x", "embedding_projection")

    def _angles(self) -> None:
        if isinstance(self.stack.position, c.Rotary):
            self._turns("angles", self.stack.position)
        if self.stack.local_position is not None:
            self._turns("local_angles", self.stack.local_position)

    def _turns(self, name: str, rotary: c.Rotary) -> None:
        dimension, scaling = rotary.dimension or self.size, rotary.scaling
        powers, weights = positions.rotary_powers(rotary.base, dimension), []
        if not isinstance(scaling, c.DynamicScaling):
            weights.append(self.constant(f"{name}_frequencies", positions.rotary_frequencies(rotary, powers)))
        if isinstance(scaling, c.LongRopeScaling):
            weights.append(self.constant(f"{name}_long", positions.rotary_frequencies(rotary, powers, long=True)))
        self.write("angles", f"{self.name}.{name}", weights=weights, dimension=dimension, base=rotary.base,
                   factor=positions.attention_factor(rotary),
                   stretch=scaling.factor if isinstance(scaling, c.DynamicScaling) else 1.0,
                   original=scaling.original if isinstance(scaling, c.DynamicScaling | c.LongRopeScaling) else 1)

    def _bias(self, weights: Mapping[str, np.ndarray]) -> tuple[dict[str, Setting], list[str]]:
        """What positions add to scores of self-attention: settings and constants of `attend`."""
        position = self.stack.position
        if isinstance(position, c.RelativeBias):
            table = weights[f"{self.name}.relative_bias.weight"]  # [buckets, H]
            name = self.constant("relative_bias", table[positions.relative_buckets(position, self.causal)].T)
            return {"bias": "relative", "bias_scale": 1.0}, [name]
        if isinstance(position, c.ALiBi):
            name = self.constant("slopes", positions.alibi_slopes(self.heads))
            return {"bias": "alibi_rounded" if position.rounded else "alibi", "bias_scale": position.scale}, [name]
        return {"bias": "none", "bias_scale": 1.0}, []

    # ------------------------------------------------------------ blocks

    def _block(self, layer: int) -> None:
        name, stack = f"{self.name}.blocks.{layer}", self.stack
        if stack.residual == "sequential":
            normed = layer > 0 or stack.first_norm
            self._residual(f"{name}.self_attention", lambda x, y, add: self._attend(layer, x, y, add), normed)
            if self.name == "decoder" and self.config.encoder is not None:
                self._residual(f"{name}.cross_attention", lambda x, y, add: self._look(layer, x, y, add))
            self._residual(f"{name}.feed_forward", lambda x, y, add: self._feed_forward(layer, x, y, add))
        else:
            y = self._normed(f"{name}.self_attention_norm", "y")
            z = y if stack.residual == "parallel" else self._normed(f"{name}.feed_forward_norm", "z")
            self._attend(layer, y, "x", True)
            self._feed_forward(layer, z, "x", True)
        self.write("tap", "x", name=f"{name}.hidden")

    def _normed(self, name: str, into: str) -> str:
        into = f"{self.name}.{into}"
        self.norm("x", into, name, self.stack.norm, self.config.width)
        return into

    def _residual(self, name: str, sublayer, normed: bool = True) -> None:  # type: ignore[no-untyped-def]
        """A sub-layer reads a buffer and writes another, or adds to it."""
        norm, width, z = self.stack.norm, self.config.width, f"{self.name}.z"
        if self.stack.placement == "post":
            sublayer("x", "x", True)
            if normed:
                self.norm("x", "x", f"{name}_norm", norm, width)
            return
        if self.stack.placement == "pre_normed":
            self.norm("x", "x", f"{name}_norm", norm, width)
            sublayer("x", "x", True)
            return
        read = self._normed(f"{name}_norm", "y") if normed else "x"
        if self.stack.placement == "pre":
            sublayer(read, "x", True)
            return
        sublayer(read, z, False)
        self.norm(z, z, f"{name}_output_norm", norm, width)
        self.write("add", z, "x")

    def _attend(self, layer: int, read: str, written: str, residual: bool) -> None:
        name, qkv = f"{self.name}.blocks.{layer}.self_attention", f"{self.name}.qkv"
        attention, local = self.stack.attention, self.stack.is_local(layer)
        self.linear(read, qkv, f"{name}.query", f"{name}.key", f"{name}.value")
        heads = (("query", 0, self.heads), ("key", self.heads * self.size, self.keys))
        angles = "local_angles" if local and self.stack.local_position else "angles"
        for part, start, count in heads:
            if attention.query_key_norm is not None:
                self.norm(qkv, qkv, f"{name}.{part}_norm", attention.query_key_norm, self.size, start, count)
            if isinstance(self.stack.position, c.Rotary):
                self.write("rotate", f"{self.name}.{angles}", qkv, start=start, heads=count, size=self.size)
        self._mix(name, qkv, layer, over="own" if self.causal else "encoder", causal=int(self.causal),
                  window=(attention.window or 0) if local else 0, weights=self.bias_weights, **self.bias)
        self.linear(f"{self.name}.mixed", written, f"{name}.output", residual=residual)

    def _look(self, layer: int, read: str, written: str, residual: bool) -> None:
        name, q = f"{self.name}.blocks.{layer}.cross_attention", f"{self.name}.q"
        self.linear(read, q, f"{name}.query")
        norm = self.stack.attention.query_key_norm
        if norm is not None:
            self.norm(q, q, f"{name}.query_norm", norm, self.size, 0, self.heads)
        self._mix(name, q, layer, over="cross", causal=0, window=0, weights=[], bias="none", bias_scale=1.0)
        self.linear(f"{self.name}.mixed", written, f"{name}.output", residual=residual)

    def _mix(self, name: str, read: str, layer: int, **settings: object) -> None:
        attention = self.stack.attention
        self.write("attend", read, f"{self.name}.mixed", name=f"{name}.weights", layer=layer, heads=self.heads,
                   key_value_heads=self.keys, size=self.size, soft_cap=attention.soft_cap or 0.0,
                   scale=self.size**-0.5 if attention.scale is None else attention.scale, **settings)  # type: ignore[arg-type]

    def _feed_forward(self, layer: int, read: str, written: str, residual: bool) -> None:
        name, part = f"{self.name}.blocks.{layer}.feed_forward", self.stack.feed_forward
        inner = f"{self.name}.inner"
        if part.gated:
            self.linear(read, f"{self.name}.up_gate", f"{name}.up", f"{name}.gate")
            self.write("gate", f"{self.name}.up_gate", inner, activation=part.activation)
        else:
            self.linear(read, inner, f"{name}.up", activation=part.activation)
        self.linear(inner, written, f"{name}.down", residual=residual)


def _memory(config: c.ModelConfig, stack: c.TransformerStack) -> list[Line]:
    """Keys and values of a source, for the cross-attention of every layer."""
    writer, size, heads = _Writer(config), config.head_size(stack.attention), c.key_value_heads(stack.attention)
    for layer in range(stack.layers):
        name = f"decoder.blocks.{layer}.cross_attention"
        writer.linear("x", "memory.kv", f"{name}.key", f"{name}.value")
        if stack.attention.query_key_norm is not None:
            writer.norm("memory.kv", "memory.kv", f"{name}.key_norm", stack.attention.query_key_norm, size, 0, heads)
        writer.write("remember", "memory.kv", layer=layer, heads=heads)
    return writer.lines


def _head(config: c.ModelConfig) -> list[Line]:
    head, writer = config.head, _Writer(config)
    if isinstance(head, c.EmbeddingHead):
        return []
    x = "x"
    if head.transform is not None:
        x = "head.transformed"
        writer.linear("x", x, "head.transform", activation=head.transform.activation)
        if head.transform.norm is not None:
            writer.norm(x, x, "head.transform_norm", head.transform.norm, config.head_width)
    cap = None
    if isinstance(head, c.LanguageModelHead):
        cap = head.soft_cap
        if head.scale != 1.0:
            writer.write("scale", x, "head.scaled", factor=head.scale)
            x = "head.scaled"
    labels = not isinstance(head, c.LanguageModelHead)  # so few rows that narrow numbers would save nothing
    writer.write("output", x, weights=[writer.stored("head.weight")],
                 biases=["head.bias"] if "head.bias" in writer.table else [], soft_cap=cap or 0.0, wide=int(labels))
    return writer.lines

