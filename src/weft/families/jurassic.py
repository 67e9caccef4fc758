"""Jurassic-1 (Lieber et al. 2021): GPT-3's blocks, wider and with fewer layers, and a vocabulary of 256,000 pieces.

Learned positions, norms before sub-layers, biases; input and output share their embeddings. The weights are not public.
"""

from __future__ import annotations

from weft.spec import config as c

VOCABULARY = 256_000
SIZES: dict[str, dict[str, int]] = {
    "large": {"layers": 32, "width": 4096, "heads": 32},
    "jumbo": {"layers": 76, "width": 13824, "heads": 96},
}


def config(vocabulary: int, layers: int, width: int, heads: int, *, feed_forward: int | None = None, window: int = 2048
           ) -> c.ModelConfig:
    """Table 1 of the paper. feed_forward: by default four times the width."""
    stack = c.TransformerStack(layers, c.Attention(heads), c.FeedForward(feed_forward or 4 * width, "gelu"),
                               placement="pre", position=c.Learned(), final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target", "none"),
                         window=c.Window(window, window))
