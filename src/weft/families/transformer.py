"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017) and its named sizes.

`base` and `big` are table 3 of the paper; `tiny` is the small-data model of Wu et al. 2021 ("Good for
Misconceived Reasons"); `small` is what fits a few hundred thousand sentence pairs.
"""

from __future__ import annotations

from weft.spec import config as c

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"layers": 4, "width": 128, "heads": 4, "feed_forward": 256},
    "small": {"layers": 3, "width": 256, "heads": 4, "feed_forward": 1024},
    "base": {"layers": 6, "width": 512, "heads": 8, "feed_forward": 2048},
    "big": {"layers": 6, "width": 1024, "heads": 16, "feed_forward": 4096},
}


def config(vocabulary: int, layers: int, width: int, heads: int, feed_forward: int, *, decoder_layers: int | None = None,
           placement: str = "post", window: int = 512) -> c.ModelConfig:
    """Encoder and decoder of equal blocks, sinusoidal positions, one shared and scaled embedding."""
    def stack(depth: int) -> c.TransformerStack:
        return c.TransformerStack(depth, c.Attention(heads), c.FeedForward(feed_forward),
                                  placement=placement, final_norm=placement != "post")  # type: ignore[arg-type]
    return c.ModelConfig(vocabulary, width, encoder=stack(layers),
                         decoder=stack(layers if decoder_layers is None else decoder_layers),
                         window=c.Window(window, window))
