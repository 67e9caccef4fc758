"""The recurrent encoder-decoder (Sutskever et al. 2014, Cho et al. 2014, Bahdanau et al. 2015, Luong et al. 2015)."""

from __future__ import annotations

from weft.spec import config as c

BRIDGES: dict[str, str] = {
    "sutskever": "last encoder state starts the decoder",
    "cho": "and is fed to every step",
    "bahdanau": "additive attention",
    "luong": "multiplicative attention",
}


def config(vocabulary: int, width: int, size: int, *, layers: int = 1, cell: str = "gru", bidirectional: bool = True,
           bridge: str = "bahdanau", window: int = 512) -> c.ModelConfig:
    """`size` cells a direction in the encoder and in the decoder, one shared embedding."""
    bridges: dict[str, c.Bridge] = {
        "sutskever": c.SingleVector(),
        "cho": c.SingleVector(every_step=True),
        "bahdanau": c.BahdanauAttention(size),
        "luong": c.LuongAttention("general"),
    }
    return c.ModelConfig(
        vocabulary, width,
        encoder=c.RecurrentStack(cell, size, layers, bidirectional),  # type: ignore[arg-type]
        decoder=c.RecurrentStack(cell, size, layers, bridge=bridges[bridge]),  # type: ignore[arg-type]
        embedding=c.Embedding(sharing="all", scale="sqrt_width"),
        window=c.Window(window, window))
