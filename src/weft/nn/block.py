"""One Transformer block: self-attention, cross-attention where there is a source, feed-forward."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from weft.nn.attention import Angles, Attention
from weft.nn.cache import KeyValueCache
from weft.nn.dropout import Dropout
from weft.nn.feed_forward import FeedForward
from weft.nn.norm import build_norm
from weft.nn.packing import Packing
from weft.spec import config as c
from weft.spec.trace import Trace

Memory = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Sub-layers with a residual around each; `placement` says where the norms stand."""

    def __init__(self, config: c.ModelConfig, stack: c.TransformerStack, name: str, cross: bool, normed: bool = True) -> None:
        """normed: the self-attention has its norm."""
        super().__init__()
        self.name, self.placement, self.residual = name, stack.placement, stack.residual
        parts = ["self_attention", *(["cross_attention"] if cross else [])]
        for part in parts:
            self.add_module(part, Attention(config, stack.attention, f"{name}.{part}"))
        self.feed_forward = FeedForward(config.width, stack.feed_forward)
        for part in [*parts, *([] if self.residual == "parallel" else ["feed_forward"])]:
            absent = part == "self_attention" and not normed
            self.add_module(f"{part}_norm", nn.Identity() if absent else build_norm(stack.norm, config.width))
            if stack.placement == "sandwich":
                self.add_module(f"{part}_output_norm", build_norm(stack.norm, config.width))
        self.dropout = Dropout()

    def forward(self, x: Tensor, mask: Tensor | None, angles: Angles | None = None, memory: Memory | None = None,
                memory_mask: Tensor | None = None, cache: KeyValueCache | None = None,
                trace: Trace | None = None, packing: Packing | None = None) -> Tensor:
        """x [B, T, D], or [N, D] if packed; masks broadcast to [B, H, T, S].

        memory: cross-attention keys and values [B, K, S, E].
        """
        def attend(y: Tensor) -> Tensor:
            return self.self_attention(y, mask, angles, cache, trace, packing)

        if self.residual == "sequential":
            x = self._residual("self_attention", x, attend)
            if memory is not None:
                x = self._residual("cross_attention", x,
                                   lambda y: self.cross_attention.look(y, *memory, memory_mask, trace, packing))
            x = self._residual("feed_forward", x, self.feed_forward)
        else:
            y = self.self_attention_norm(x)
            z = y if self.residual == "parallel" else self.feed_forward_norm(x)
            x = self.dropout(attend(y) + self.feed_forward(z), x)
        if trace is not None:
            trace.add(f"{self.name}.hidden", x)
        return x

    def _residual(self, part: str, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        norm = getattr(self, f"{part}_norm")
        if self.placement == "post":
            return norm(self.dropout(sublayer(x), x))
        y = norm(x)
        if self.placement == "pre_normed":
            return self.dropout(sublayer(y), y)
        y = sublayer(y)
        if self.placement == "sandwich":
            y = getattr(self, f"{part}_output_norm")(y)
        return self.dropout(y, x)
