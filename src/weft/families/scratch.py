"""Architectures to train from nothing, by name: what `weft train --family` chooses from, besides the recurrent ones.

A model trained as llama, gpt2 or modernbert can be exported in that family's format.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.families import jurassic, palm, transformer
from weft.spec import config as c

Builder = Callable[..., c.ModelConfig]

SIZES: dict[str, dict[str, dict[str, int]]] = {
    "encoder-decoder": transformer.SIZES,
    "decoder-only": {
        "tiny": {"layers": 4, "width": 128, "heads": 4, "feed_forward": 512},
        "small": {"layers": 6, "width": 384, "heads": 6, "feed_forward": 1536},
        "base": {"layers": 12, "width": 768, "heads": 12, "feed_forward": 3072},
        "big": {"layers": 24, "width": 1024, "heads": 16, "feed_forward": 4096},
    },
    "encoder-only": {
        "tiny": {"layers": 4, "width": 128, "heads": 4, "feed_forward": 256},
        "small": {"layers": 4, "width": 256, "heads": 4, "feed_forward": 512},
        "base": {"layers": 12, "width": 768, "heads": 12, "feed_forward": 1536},
        "big": {"layers": 24, "width": 1024, "heads": 16, "feed_forward": 3072},
    },
}


def gpt2(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, window: int = 256) -> c.ModelConfig:
    """Radford et al. 2019."""
    stack = c.TransformerStack(layers, c.Attention(heads), c.FeedForward(feed_forward, "gelu_tanh"), placement="pre",
                               position=c.Learned(), final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target", "none"),
                         window=c.Window(window, window))


def llama(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, window: int = 256) -> c.ModelConfig:
    """Touvron et al. 2023, with one tied embedding; gated, so that two thirds of feed_forward weigh as much as all of it."""
    gated = max(8, feed_forward * 2 // 3 // 8 * 8)
    stack = c.TransformerStack(layers, c.Attention(heads, heads, width // heads, bias=False),
                               c.FeedForward(gated, "silu", gated=True, bias=False), norm=c.RMSNorm(), placement="pre",
                               position=c.Rotary(), final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target", "none"),
                         window=c.Window(window, window))


def palm_like(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, window: int = 256) -> c.ModelConfig:
    """Chowdhery et al. 2022, with heads as wide as they fit; gated as `llama`."""
    gated = max(8, feed_forward * 2 // 3 // 8 * 8)
    return palm.config(vocabulary, layers, width, heads, head_size=width // heads, feed_forward=gated, window=window)


def jurassic_like(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, window: int = 256
                  ) -> c.ModelConfig:
    """Lieber et al. 2021."""
    return jurassic.config(vocabulary, layers, width, heads, feed_forward=feed_forward, window=window)


def modernbert(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, window: int = 256
               ) -> c.ModelConfig:
    """Warner et al. 2024, every layer global."""
    norm = c.LayerNorm(bias=False)
    stack = c.TransformerStack(layers, c.Attention(heads, bias=False),
                               c.FeedForward(feed_forward, "gelu", gated=True, bias=False), norm=norm, placement="pre",
                               position=c.Rotary(), final_norm=True, embedding_norm=True, first_norm=False)
    head = c.LanguageModelHead(True, transform=c.Transform("gelu", norm, bias=False))
    return c.ModelConfig(vocabulary, width, encoder=stack, embedding=c.Embedding("all", "none"), head=head,
                         window=c.Window(window, window))


BUILDERS: dict[str, tuple[str, Builder]] = {
    "transformer": ("encoder-decoder", transformer.config),
    "llama": ("decoder-only", llama),
    "gpt2": ("decoder-only", gpt2),
    "palm": ("decoder-only", palm_like),
    "jurassic": ("decoder-only", jurassic_like),
    "modernbert": ("encoder-only", modernbert),
}
"""Name -> kind of model and builder; the first of a kind is its default."""
