"""PaLM (Chowdhery et al. 2022): attention and feed-forward side by side on one norm, a single key and value head, SwiGLU.

No biases anywhere; rotary positions; input and output share their embeddings. The weights are not public.
"""

from __future__ import annotations

from weft.spec import config as c

VOCABULARY = 256_000
SIZES: dict[str, dict[str, int]] = {
    "8b": {"layers": 32, "width": 4096, "heads": 16},
    "62b": {"layers": 64, "width": 8192, "heads": 32},
    "540b": {"layers": 118, "width": 18432, "heads": 48},
}


def config(vocabulary: int, layers: int, width: int, heads: int, *, head_size: int = 256, feed_forward: int | None = None,
           window: int = 2048) -> c.ModelConfig:
    """Table 1 of the paper. feed_forward: by default four times the width.

    Scaled embeddings of variance 1 / width are the paper's of variance 1 with logits divided by sqrt(width) (section 5).
    """
    stack = c.TransformerStack(
        layers, c.Attention(heads, key_value_heads=1, head_size=head_size, bias=False),
        c.FeedForward(feed_forward or 4 * width, "silu", gated=True, bias=False),
        norm=c.LayerNorm(bias=False), placement="pre", position=c.Rotary(), residual="parallel", final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target", "sqrt_width"),
                         window=c.Window(window, window))
