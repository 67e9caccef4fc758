"""Heads: hidden states to logits, or to one vector of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.nn.feed_forward import ACTIVATIONS
from weft.nn.linear import Linear, PackedLinear
from weft.nn.norm import build_norm
from weft.spec import config as c


class Head(nn.Module):
    """transform, norm, output layer; an embedding head has none of them."""

    def __init__(self, config: c.ModelConfig) -> None:
        super().__init__()
        self.config = head = config.head
        self._packed: PackedLinear | None = None
        if isinstance(head, c.EmbeddingHead):
            return
        if head.transform is not None:
            self.transform = Linear(config.width, config.head_width, head.transform.bias)
            if head.transform.norm is not None:
                self.transform_norm = build_norm(head.transform.norm, config.head_width)
        self.weight = nn.Parameter(torch.empty(config.outputs, config.head_width))
        self.bias = nn.Parameter(torch.zeros(config.outputs)) if head.bias else None

    def pack(self) -> None:
        """Keep a copy of the weights for inference."""
        if not isinstance(self.config, c.EmbeddingHead):
            self._packed = PackedLinear(self.weight, self.bias)

    def prepare(self, hidden: Tensor) -> Tensor:
        """Hidden [..., D] -> what the output layer takes, [..., D] or transform.size."""
        head = self.config
        if isinstance(head, c.EmbeddingHead):
            return hidden
        if head.transform is not None:
            hidden = ACTIVATIONS[head.transform.activation](self.transform(hidden))
            hidden = hidden if head.transform.norm is None else self.transform_norm(hidden)
        scale = head.scale if isinstance(head, c.LanguageModelHead) else 1.0
        return hidden if scale == 1.0 else hidden * scale

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden [..., D] -> logits [..., V] or [..., labels]."""
        hidden = self.prepare(hidden)
        if self._packed is not None and not self.training:
            logits = self._packed(hidden)
        else:
            logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        cap = self.config.soft_cap if isinstance(self.config, c.LanguageModelHead) else None
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def score(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """What the model says of texts of `lengths` [B] with hidden [B, S, D], padded on the right.

        Logits [B, S, V] (language model), [B, S, labels] (tags), [B, labels] (classes), or vectors [B, D].
        """
        if isinstance(self.config, (c.LanguageModelHead, c.TagHead)):
            return self(hidden)
        pooled = pool(hidden, lengths, self.config.pooling)
        if isinstance(self.config, c.ClassificationHead):
            return self(pooled)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.config.normalise else pooled


def pool(hidden: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """hidden [B, S, D], padded on the right -> [B, D]: the first state, the last valid one, or the mean of the valid."""
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden)), lengths - 1]
    valid = (torch.arange(hidden.shape[1]) < lengths[:, None])[:, :, None]
    return (hidden * valid).sum(1) / lengths[:, None].to(hidden.dtype)


def pool_packed(hidden: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """As `pool`, for the valid positions only, row after row: hidden [N, D] -> [B, D]."""
    ends = lengths.cumsum(0)
    if pooling == "mean":
        rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        total = hidden.new_zeros(len(lengths), hidden.shape[1], dtype=torch.float32).index_add(0, rows, hidden.float())
        return (total / lengths[:, None]).to(hidden.dtype)
    return hidden.index_select(0, ends - lengths if pooling == "first" else ends - 1)
