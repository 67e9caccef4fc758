"""A Transformer stack: positions, blocks, final norm. Embeddings come in from the model.

Masks are built here from lengths; what is forbidden gets the lowest finite number, so that a row of padding
gives a useless but finite result. A causal stack lets position t see 0..t (the last `window` of them).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from weft.nn import position as pos
from weft.nn.attention import Angles
from weft.nn.block import Block, Memory
from weft.nn.cache import Columns, KeyValueCache
from weft.nn.dropout import Dropout
from weft.nn.norm import build_norm
from weft.nn.packing import Packing
from weft.spec import config as c
from weft.spec import positions
from weft.spec.trace import Trace


class Table(nn.Module):
    """A matrix of rows looked up by index, [rows, columns]."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))


class TransformerStack(nn.Module):
    """Encoder (causal=False) or decoder (causal=True; cross=True where there is a source)."""

    def __init__(self, config: c.ModelConfig, stack: c.TransformerStack, name: str, cross: bool, length: int) -> None:
        super().__init__()
        self.config, self.stack, self.name, self.length = config, stack, name, length
        self.causal = name == "decoder"
        if isinstance(stack.position, c.Learned):
            self.position = Table(length + stack.position.offset, config.position_size)
        if isinstance(stack.position, c.RelativeBias):
            self.relative_bias = Table(stack.position.buckets, stack.attention.heads)
        if stack.embedding_norm:
            self.embedding_norm = build_norm(stack.norm, config.position_size)
        self.blocks = nn.ModuleList(Block(config, stack, f"{name}.blocks.{layer}", cross, layer > 0 or stack.first_norm)
                                    for layer in range(stack.layers))
        if stack.final_norm:
            self.final_norm = build_norm(stack.norm, config.width)
        self.dropout = Dropout()
        self._sinusoids: Tensor | None = None

    def forward(self, x: Tensor, lengths: Tensor | None = None, memory: list[Memory] | None = None,
                memory_mask: Tensor | None = None, caches: list[KeyValueCache] | None = None,
                columns: Columns | None = None, trace: Trace | None = None, packing: Packing | None = None,
                project: nn.Module | None = None) -> Tensor:
        """Embeddings x [B, T, D], or [N, D] if packed -> hidden, like x.

        lengths: int [B], valid columns of each row, padded on the right; None if all are, or if no column that
        matters can see the others.
        memory: per block, cross-attention keys and values [B, K, S, E].
        caches, columns: what was read before, and where x stands after it; without them x is all there is.
        project: maps embeddings of another size to the width, once positions are added.
        """
        if columns is None:
            everything = torch.arange(packing.size if packing else x.shape[1], device=x.device)
            visible = None if lengths is None else (everything < lengths[:, None])[:, None, None]
            columns = Columns(everything, everything, visible)
        at = columns.positions()
        x = self.embed_positions(x, packing.positions if packing else at, trace)
        if project is not None:
            x = project(x)
        views = self._views(columns, at, lengths, x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, *views[self.stack.is_local(layer)], memory[layer] if memory else None, memory_mask,
                      caches[layer] if caches else None, trace, packing)
        if self.stack.final_norm:
            x = self.final_norm(x)
        if trace is not None:
            trace.add(f"{self.name}.hidden", x)
        return x

    def _views(self, columns: Columns, at: Tensor, lengths: Tensor | None, dtype: torch.dtype
               ) -> dict[bool, tuple[Tensor | None, Angles | None]]:
        """Mask and angles of local (True) and other (False) layers."""
        kinds = {self.stack.is_local(layer) for layer in range(self.stack.layers)}
        return {local: (self.mask(columns, dtype, local), self._angles(at, lengths, local)) for local in kinds}

    def embed_positions(self, x: Tensor, at: Tensor, trace: Trace | None = None) -> Tensor:
        """Add what positions `at` [T] or [B, T] (packed: [N]) add to embeddings x; embedding norm and dropout."""
        position = self.stack.position
        if isinstance(position, c.Sinusoidal):
            x = x + self._sinusoidal_rows(int(at.max()) + 1 + position.offset, x)[at + position.offset]
        elif isinstance(position, c.Learned):
            x = x + self.position.weight[at + position.offset]
        if self.stack.embedding_norm:
            x = self.embedding_norm(x)
        if trace is not None:
            trace.add(f"{self.name}.embedding", x)
        return self.dropout(x)

    def _sinusoidal_rows(self, needed: int, like: Tensor) -> Tensor:
        table = self._sinusoids
        if table is None or len(table) < needed or table.dtype != like.dtype or table.device != like.device:
            length = max(needed, self.length)
            rows = positions.sinusoidal(self.stack.position, self.config.position_size, length)  # type: ignore[arg-type]
            table = torch.from_numpy(rows).to(like)
            self._sinusoids = table
        return table

    def _angles(self, at: Tensor, lengths: Tensor | None, local: bool) -> Angles | None:
        position = self.stack.local_position if local and self.stack.local_position else self.stack.position
        if not isinstance(position, c.Rotary):
            return None
        cos, sin = pos.rotary_angles(position, self.config.head_size(self.stack.attention), at, lengths)
        return (cos, sin) if cos.dim() == 2 else (cos[:, None], sin[:, None])

    def mask(self, columns: Columns, dtype: torch.dtype, local: bool) -> Tensor | None:
        """Additive mask that broadcasts to [B, H, T, S], or None where every query sees every key."""
        distance = columns.keys - columns.queries[:, None]  # [T, S]
        bias = self._bias(distance, columns)
        forbidden = self._forbidden(distance, columns.visible, local)
        if forbidden is None:
            return None if bias is None else bias.to(dtype)
        bias = torch.zeros(1, dtype=dtype) if bias is None else bias.to(dtype)
        return torch.where(forbidden, torch.finfo(dtype).min, bias)

    def _forbidden(self, distance: Tensor, visible: Tensor | None, local: bool) -> Tensor | None:
        """bool, True where a query must not look; broadcasts to [B, 1, T, S]."""
        window = self.stack.attention.window if local else None
        rules = []
        if self.causal and bool((distance > 0).any()):
            rules.append((distance > 0)[None, None])
        if window is not None:
            rules.append((distance <= -window if self.causal else distance.abs() >= window)[None, None])
        if visible is not None:
            rules.append(~visible)
        return functools.reduce(torch.logical_or, rules) if rules else None

    def _bias(self, distance: Tensor, columns: Columns) -> Tensor | None:
        """What positions add to attention scores, [1 or N, H, T or 1, S], from distances [T, S] of keys to queries."""
        position = self.stack.position
        if isinstance(position, c.RelativeBias):
            bucket = pos.relative_bucket(distance, position, self.causal)
            return self.relative_bias.weight[bucket].permute(2, 0, 1)[None]
        if isinstance(position, c.ALiBi):
            slopes = torch.from_numpy(positions.alibi_slopes(self.stack.attention.heads)).to(distance.device)[:, None, None]
            if position.rounded:  # a softmax does not see what is added to all scores of a query
                keys = columns.keys if columns.offsets is None else columns.keys - columns.offsets[:, None, None, None]
                return position.scale * (slopes.bfloat16() * keys).float().view(-1, len(slopes), 1, keys.shape[-1])
            return (-position.scale * distance.abs() * slopes)[None]
        return None


def padding_mask(lengths: Tensor | None, size: int, dtype: torch.dtype) -> Tensor | None:
    """Additive mask over source positions, [B, 1, 1, S], lowest past each length; None if nothing is padded."""
    if lengths is None or bool((lengths == size).all()):
        return None
    forbidden = torch.arange(size, device=lengths.device) >= lengths[:, None]
    return torch.zeros(forbidden.shape, dtype=dtype).masked_fill(forbidden, torch.finfo(dtype).min)[:, None, None]
