"""How well a language model foresees text: from the sum of its -log p in nats."""

from __future__ import annotations

import math

from weft.metrics.metric import Score


def bits_per_character(nats: float, characters: int, signature: str) -> Score:
    """nats / ln 2 / characters (Unicode code points); does not depend on how the text is cut into tokens."""
    return Score("bits per character", nats / math.log(2) / max(characters, 1), f"characters:{characters}|{signature}")


def perplexity(nats: float, tokens: int, signature: str) -> Score:
    """exp of the mean a token; only models with the same tokens compare."""
    return Score("perplexity", math.exp(min(nats / max(tokens, 1), 700.0)), f"tokens:{tokens}|{signature}")
