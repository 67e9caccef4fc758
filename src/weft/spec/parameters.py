"""The parameter table: every parameter's name, shape, tie and initialisation, derived from a ModelConfig.

It is the one authority: torch modules, engines, import rules and displays are checked against it. Linear
weights are [output, input].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from weft.spec import config as c


@dataclass(frozen=True)
class Parameter:
    """One row of the table. tie: the name whose tensor this parameter is; tied ones are not stored.

    init: `xavier` uniform (Glorot and Bengio 2010), `normal` with mean 0 and deviation `scale`,
    `uniform` in +-scale, `ones`, `zeros`.
    """

    shape: tuple[int, ...]
    init: Literal["xavier", "normal", "uniform", "ones", "zeros"]
    scale: float = 1.0
    tie: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


Table = dict[str, Parameter]
Row = tuple[str, Parameter]


def parameters(config: c.ModelConfig) -> Table:
    """Name -> Parameter, in the order of a forward pass."""
    rows: list[Row] = [*_embeddings(config)]
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        if isinstance(stack, c.TransformerStack):
            cross = name == "decoder" and config.encoder is not None
            length = config.window.source if name == "encoder" else config.window.target
            rows += _transformer(config, name, stack, cross, length)
        elif isinstance(stack, c.RecurrentStack):
            rows += _recurrent(config, name, stack)
    rows += _head(config)
    return dict(rows)


def count(config: c.ModelConfig) -> int:
    """Number of trained scalars; tied parameters count once."""
    return sum(parameter.size for parameter in parameters(config).values() if parameter.tie is None)


# ---------------------------------------------------------------- ends


def _embeddings(config: c.ModelConfig) -> Iterator[Row]:
    size, deviation = config.embedding_size, config.embedding_size**-0.5
    shared = config.encoder is not None and config.embedding.sharing in ("all", "inputs")
    if config.encoder is not None:
        yield "source_embedding.weight", Parameter((config.vocabulary, size), "normal", deviation)
    if config.decoder is not None:
        tie = "source_embedding.weight" if shared else None
        yield "target_embedding.weight", Parameter((config.vocabulary, size), "normal", deviation, tie)
    if config.embedding.types:
        yield "type_embedding.weight", Parameter((config.embedding.types, config.position_size), "normal", 0.02)
    if size != config.width:
        yield from _linear("embedding_projection", config.width, size, config.embedding.projection == "after")


def _head(config: c.ModelConfig) -> Iterator[Row]:
    head = config.head
    if isinstance(head, c.EmbeddingHead):
        return
    if head.transform is not None:
        yield from _linear("head.transform", config.head_width, config.width, head.transform.bias)
        if head.transform.norm is not None:
            yield from _norm("head.transform_norm", head.transform.norm, config.head_width)
    tie = {"all": "source_embedding.weight", "target": "target_embedding.weight"}.get(config.embedding.sharing)
    yield "head.weight", Parameter((config.outputs, config.head_width), "normal", config.head_width**-0.5, tie)
    if head.bias:
        yield "head.bias", Parameter((config.outputs,), "zeros")


def _linear(name: str, outputs: int, inputs: int, bias: bool) -> Iterator[Row]:
    yield f"{name}.weight", Parameter((outputs, inputs), "xavier")
    if bias:
        yield f"{name}.bias", Parameter((outputs,), "zeros")


def _norm(name: str, norm: c.Norm, size: int) -> Iterator[Row]:
    offset = isinstance(norm, c.RMSNorm) and norm.offset == 1.0
    yield f"{name}.weight", Parameter((size,), "zeros" if offset else "ones")
    if isinstance(norm, c.LayerNorm) and norm.bias:
        yield f"{name}.bias", Parameter((size,), "zeros")


# ---------------------------------------------------------------- Transformer


def _transformer(config: c.ModelConfig, name: str, stack: c.TransformerStack, cross: bool, length: int
                 ) -> Iterator[Row]:
    if isinstance(stack.position, c.Learned):
        shape = (length + stack.position.offset, config.position_size)
        yield f"{name}.position.weight", Parameter(shape, "normal", 0.02)
    if isinstance(stack.position, c.RelativeBias):
        shape = (stack.position.buckets, stack.attention.heads)
        yield f"{name}.relative_bias.weight", Parameter(shape, "normal", config.width**-0.5)
    if stack.embedding_norm:
        yield from _norm(f"{name}.embedding_norm", stack.norm, config.position_size)
    for layer in range(stack.layers):
        yield from _block(config, f"{name}.blocks.{layer}", stack, cross, layer > 0 or stack.first_norm)
    if stack.final_norm:
        yield from _norm(f"{name}.final_norm", stack.norm, config.width)


def _block(config: c.ModelConfig, name: str, stack: c.TransformerStack, cross: bool, normed: bool) -> Iterator[Row]:
    for part in ("self_attention", *(["cross_attention"] if cross else [])):
        yield from _attention(config, f"{name}.{part}", stack.attention)
        if normed or part != "self_attention":
            yield from _sublayer_norms(config, f"{name}.{part}", stack)
    yield from _feed_forward(config, f"{name}.feed_forward", stack.feed_forward)
    if stack.residual != "parallel":
        yield from _sublayer_norms(config, f"{name}.feed_forward", stack)


def _sublayer_norms(config: c.ModelConfig, name: str, stack: c.TransformerStack) -> Iterator[Row]:
    yield from _norm(f"{name}_norm", stack.norm, config.width)
    if stack.placement == "sandwich":
        yield from _norm(f"{name}_output_norm", stack.norm, config.width)


def _attention(config: c.ModelConfig, name: str, attention: c.Attention) -> Iterator[Row]:
    size = config.head_size(attention)
    queries, keys = attention.heads * size, c.key_value_heads(attention) * size
    yield from _linear(f"{name}.query", queries, config.width, attention.bias)
    yield from _linear(f"{name}.key", keys, config.width, attention.bias)
    yield from _linear(f"{name}.value", keys, config.width, attention.bias)
    bias = attention.bias if attention.output_bias is None else attention.output_bias
    yield from _linear(f"{name}.output", config.width, queries, bias)
    if attention.query_key_norm is not None:
        yield from _norm(f"{name}.query_norm", attention.query_key_norm, size)
        yield from _norm(f"{name}.key_norm", attention.query_key_norm, size)


def _feed_forward(config: c.ModelConfig, name: str, feed_forward: c.FeedForward) -> Iterator[Row]:
    yield from _linear(f"{name}.up", feed_forward.size, config.width, feed_forward.bias)
    if feed_forward.gated:
        yield from _linear(f"{name}.gate", feed_forward.size, config.width, feed_forward.bias)
    yield from _linear(f"{name}.down", config.width, feed_forward.size, feed_forward.bias)


# ---------------------------------------------------------------- recurrent


def _recurrent(config: c.ModelConfig, name: str, stack: c.RecurrentStack) -> Iterator[Row]:
    encoder, bridge = config.encoder, stack.bridge
    source = encoder.output_size if isinstance(encoder, c.RecurrentStack) else 0
    context = 0 if isinstance(bridge, c.LuongAttention) or bridge == c.SingleVector(every_step=False) else source
    inputs = config.width + (context if bridge is not None else 0)
    for layer in range(stack.layers):
        for direction in ("forward_cell", *(["backward_cell"] if stack.bidirectional else [])):
            yield from _cell(f"{name}.layers.{layer}.{direction}", stack, inputs)
        inputs = stack.output_size
    if bridge is not None:
        yield from _bridge(config, name, stack, source, bridge)


def _cell(name: str, stack: c.RecurrentStack, inputs: int) -> Iterator[Row]:
    rows, bound = stack.gates * stack.size, stack.size**-0.5
    yield f"{name}.input_weight", Parameter((rows, inputs), "uniform", bound)
    yield f"{name}.recurrent_weight", Parameter((rows, stack.size), "uniform", bound)
    yield f"{name}.input_bias", Parameter((rows,), "zeros")
    yield f"{name}.recurrent_bias", Parameter((rows,), "zeros")


def _bridge(config: c.ModelConfig, name: str, stack: c.RecurrentStack, source: int, bridge: c.Bridge
            ) -> Iterator[Row]:
    states = stack.layers * (2 if stack.cell == "lstm" else 1)
    yield from _linear(f"{name}.initial", states * stack.size, source, True)
    if isinstance(bridge, c.BahdanauAttention):
        yield from _linear(f"{name}.attention.query", bridge.size, stack.size, False)
        yield from _linear(f"{name}.attention.key", bridge.size, source, True)
        yield f"{name}.attention.score.weight", Parameter((1, bridge.size), "xavier")
    if bridge == c.LuongAttention("general"):
        yield from _linear(f"{name}.attention.key", stack.size, source, False)
    context = 0 if isinstance(bridge, c.SingleVector) else source
    yield from _linear(f"{name}.readout", config.width, stack.size + context, True)
