"""Translation: a pair of texts -> source and target ids, and back. The text rules of the task live here only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.spec.config import SpecialTokens
from weft.text import Tokenizer

Pair = tuple[str, str]


@dataclass(frozen=True)
class Encoded:
    """Examples as ids. A source ends with eos; a target has neither start nor eos yet.

    lengths: int64 [N, 2], source with eos, and target with its start token (or eos).
    """

    sources: list[list[int]]
    targets: list[list[int]]

    @property
    def lengths(self) -> np.ndarray:
        pairs = [(len(source), len(target) + 1) for source, target in zip(self.sources, self.targets, strict=True)]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def encode_sources(tokenizer: Tokenizer, texts: Sequence[str], special: SpecialTokens) -> list[list[int]]:
    return [[*ids, special.eos] for ids in tokenizer.encode_batch(list(texts))]


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair], special: SpecialTokens) -> Encoded:
    sources = encode_sources(tokenizer, [source for source, _ in pairs], special)
    return Encoded(sources, tokenizer.encode_batch([target for _, target in pairs]))
