"""Multi-head attention, masked, self or cross, with one or few key/value heads.

Plain batched products, not scaled_dot_product_attention: at sentence lengths its CPU backward costs several
times as much (docs/LOG.md, 2026-11-20), and the weights can be traced. Masks are additive: 0 where a query may
look, the lowest finite number where it may not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.nn.cache import KeyValueCache
from weft.nn.dropout import Dropout
from weft.nn.linear import Linear, PackedLinear
from weft.nn.norm import build_norm
from weft.nn.packing import Packing
from weft.nn.position import rotate
from weft.nn.softmax import softmax
from weft.spec import config as c
from weft.spec.trace import Trace

Angles = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Vaswani et al. 2017, section 3.2. Legend: B batch, T queries, S keys, H heads, K key/value heads, E head size."""

    def __init__(self, config: c.ModelConfig, attention: c.Attention, name: str) -> None:
        super().__init__()
        self.name = name
        self.heads = attention.heads
        self.key_value_heads = c.key_value_heads(attention)
        self.head_size = config.head_size(attention)
        self.scale = self.head_size**-0.5 if attention.scale is None else attention.scale
        self.soft_cap = attention.soft_cap
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        self.query = Linear(config.width, queries, attention.bias)
        self.key = Linear(config.width, keys, attention.bias)
        self.value = Linear(config.width, keys, attention.bias)
        self.output = Linear(queries, config.width, attention.bias if attention.output_bias is None else attention.output_bias)
        norm = attention.query_key_norm
        self.query_norm = build_norm(norm, self.head_size) if norm else None
        self.key_norm = build_norm(norm, self.head_size) if norm else None
        self.dropout = Dropout()
        self._fused: PackedLinear | None = None

    @torch.no_grad()
    def pack(self) -> None:
        """Project queries, keys and values in one product from now on: for inference, as copies of the weights."""
        parts = (self.query, self.key, self.value)
        bias = torch.cat([part.bias for part in parts]) if self.query.bias is not None else None
        self._fused = PackedLinear(torch.cat([part.weight for part in parts]), bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, angles: Angles | None = None,
                cache: KeyValueCache | None = None, trace: Trace | None = None, packing: Packing | None = None
                ) -> Tensor:
        """Self-attention. x [B, T, D], or [N, D] if packed; mask broadcasts to [B, H, T, S] -> like x."""
        if self._fused is not None and not self.training:
            sizes = [self.query.out_features, self.key.out_features, self.value.out_features]
            queries, keys, values = self._fused(x).split(sizes, -1)
        else:
            queries, keys, values = self.query(x), self.key(x), self.value(x)
        queries = self._heads(queries, packing, self.query_norm, angles)
        keys, values = self._heads(keys, packing, self.key_norm, angles), self._heads(values, packing)
        if cache is not None:
            keys, values = cache.append(keys, values)
        return self._attend(queries, keys, values, mask, trace, packing)

    def project_memory(self, memory: Tensor, packing: Packing | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of an encoder's output [B, S, D] -> two of [B, K, S, E], contiguous for many steps."""
        keys = self._heads(self.key(memory), packing, self.key_norm)
        return keys.contiguous(), self._heads(self.value(memory), packing).contiguous()

    def look(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, trace: Trace | None = None,
             packing: Packing | None = None) -> Tensor:
        """Cross-attention. x [B, T, D], or [N, D] if packed, over what `project_memory` gave -> like x."""
        queries = self._heads(self.query(x), packing, self.query_norm)
        return self._attend(queries, keys, values, mask, trace, packing)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, trace: Trace | None,
                packing: Packing | None) -> Tensor:
        """queries [B, H, T, E] over keys and values [B, K, S, E] -> [B, T, D] or [N, D]."""
        dtype = queries.dtype
        if queries.shape[2] == 1:
            queries = queries.to(keys.dtype)
        elif keys.dtype != dtype:
            keys, values = keys.to(dtype), values.to(dtype)
        queries = queries if self.scale == 1.0 else queries * self.scale
        weights = self._weights(queries, keys, mask)
        if trace is not None:
            trace.add(f"{self.name}.weights", weights)
        weights, scale = self.dropout.unscaled(weights)
        mixed = self._by_group(weights, values if scale == 1.0 else values * scale).to(dtype)  # [B, H, T, E]
        return self.output(packing.merge(mixed) if packing else mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, packing: Packing | None = None, norm: nn.Module | None = None,
               angles: Angles | None = None) -> Tensor:
        """[B, T, heads * E], or [N, heads * E] if packed -> [B, heads, T, E], normed and turned where asked for."""
        if packing is not None:
            x = packing.split(x, x.shape[-1] // self.head_size)
        else:
            x = x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        if norm is not None:
            x = norm(x)
        return rotate(x, *angles) if angles else x

    def _weights(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        scores = self._by_group(queries, keys.transpose(-1, -2))  # [B, H, T, S]
        if self.soft_cap is not None:
            scores = self.soft_cap * torch.tanh(scores / self.soft_cap)
        return softmax(scores if mask is None else scores.add_(mask))

    def _by_group(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """rows [B, H, T, I] @ matrices [B, K, I, J], each of which serves H / K heads -> [B, H, T, J]."""
        if self.key_value_heads == self.heads:
            return rows @ matrices
        batch, heads, length, _ = rows.shape
        together = rows.reshape(batch, self.key_value_heads, -1, rows.shape[-1])
        return (together @ matrices).view(batch, heads, length, -1)
