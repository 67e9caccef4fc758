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
from weft.nn.norm import build_norm
from weft.nn.position import rotate
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
        self.soft_cap = attention.soft_cap
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        self.query = nn.Linear(config.width, queries, attention.bias)
        self.key = nn.Linear(config.width, keys, attention.bias)
        self.value = nn.Linear(config.width, keys, attention.bias)
        self.output = nn.Linear(queries, config.width, attention.bias)
        norm = attention.query_key_norm
        self.query_norm = build_norm(norm, self.head_size) if norm else None
        self.key_norm = build_norm(norm, self.head_size) if norm else None
        self.dropout = Dropout()

    def forward(self, x: Tensor, mask: Tensor | None = None, angles: Angles | None = None,
                cache: KeyValueCache | None = None, trace: Trace | None = None) -> Tensor:
        """Self-attention. x [B, T, D]; mask broadcasts to [B, H, T, S] -> [B, T, D]."""
        keys, values = self.project_memory(x, angles)
        if cache is not None:
            keys, values = cache.append(keys, values)
        return self.attend(x, keys, values, mask, angles, trace)

    def project_memory(self, memory: Tensor, angles: Angles | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of memory [B, S, D] -> two of [B, K, S, E]."""
        keys, values = self._split(self.key(memory)), self._split(self.value(memory))
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        return (rotate(keys, *angles) if angles else keys), values

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, angles: Angles | None = None,
               trace: Trace | None = None) -> Tensor:
        """Queries of x [B, T, D] over keys and values [B, K, S, E] -> [B, T, D]."""
        queries = self._split(self.query(x))
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        if angles:
            queries = rotate(queries, *angles)
        if self.key_value_heads < self.heads:
            repeats = self.heads // self.key_value_heads
            keys, values = keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1)
        weights = self._weights(queries * self.head_size**-0.5, keys, mask)
        if trace is not None:
            trace.add(f"{self.name}.weights", weights)
        mixed = self.dropout(weights) @ values  # [B, H, T, E]
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _weights(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        scores = queries @ keys.transpose(-1, -2)  # [B, H, T, S]
        if self.soft_cap is not None:
            scores = self.soft_cap * torch.tanh(scores / self.soft_cap)
        return torch.softmax(scores if mask is None else scores + mask, -1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
