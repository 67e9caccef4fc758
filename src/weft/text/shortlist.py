"""Lexical shortlists: the target tokens that a source's own tokens are likely to become (Jean et al. 2015, section 3.3;
L'Hostis et al. 2016), so that a translator need not compute the rest of its output layer. Learned from pairs by IBM model 1.
It knows token ids, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.errors import BundleError, DataError

ROUNDS = 5
"""Of expectation maximisation; IBM model 1 has one optimum, and further rounds change few places of a ranking."""
MOST_LINKS = 50_000_000
"""Pairs of tokens that are learned from at once, each in about 50 bytes of memory; a larger sample adds rare tokens only."""


@dataclass(frozen=True)
class Shortlist:
    """frequent: rising target ids that every source may become. ids: those of each source token, likeliest first, one after
    the other; those of token s are ids[starts[s] : starts[s + 1]]. All int32."""

    frequent: np.ndarray
    starts: np.ndarray
    ids: np.ndarray

    def of(self, source: Sequence[int], always: Sequence[int] = ()) -> np.ndarray:
        """The rising ids, int32, that this source may become, whatever others there are; always: those that are in any list."""
        found = np.zeros(len(self.starts) - 1, bool)
        found[self.frequent] = True
        found[list(always)] = True
        for token in source:
            found[self.ids[self.starts[token] : self.starts[token + 1]]] = True
        return np.flatnonzero(found).astype(np.int32)

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        from safetensors.numpy import save

        return save({"frequent": self.frequent, "starts": self.starts, "ids": self.ids})

    @classmethod
    def from_bytes(cls, content: bytes, vocabulary: int) -> Shortlist:
        """Raises BundleError for what is no shortlist of a vocabulary of that size."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            found = load(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise BundleError(f"the shortlist is no safetensors file ({error}); make it again by weft shortlist") from error
        rows = all(array.dtype == np.int32 and array.ndim == 1 for array in found.values())
        if sorted(found) != ["frequent", "ids", "starts"] or not rows:
            raise BundleError("the shortlist must hold frequent, ids and starts as rows of int32; make it again by weft "
                              "shortlist")
        made = cls(**found)
        rising = len(made.starts) == vocabulary + 1 and made.starts[0] == 0 and made.starts[-1] == len(made.ids) and bool(
            (np.diff(made.starts) >= 0).all())
        inside = all(not len(ids) or (ids.min() >= 0 and ids.max() < vocabulary) for ids in (made.frequent, made.ids))
        if not rising or not inside:
            raise BundleError(f"the shortlist is not one of {vocabulary:,} tokens; make it again by weft shortlist")
        return made


def learn(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], vocabulary: int, *, frequent: int = 100,
          per_token: int = 100, rounds: int = ROUNDS) -> tuple[Shortlist, int]:
    """The shortlist of pairs of token ids, and how many of the pairs it was learned from.

    frequent: so many target tokens are in every list, the most frequent ones. per_token: at most so many are in that of a
    source token, the likeliest by p(target | source). Raises DataError where there are no pairs.
    """
    used = _affordable(sources, targets)
    if not used:
        raise DataError("no pair has tokens on both sides; nothing can be learned of its translations")
    counts = np.zeros(vocabulary, np.int64)
    for target in targets:
        counts += np.bincount(np.asarray(target, np.int64), minlength=vocabulary)
    order = np.argsort(-counts, kind="stable")[:frequent]
    keys, chances = translation_chances(sources[:used], targets[:used], vocabulary, rounds)
    spoken, said = np.divmod(keys, vocabulary)
    best = np.lexsort((said, -chances, spoken))
    spoken, said = spoken[best], said[best]
    rank = np.arange(len(spoken)) - np.searchsorted(spoken, spoken)
    kept = (rank < per_token) & (spoken < vocabulary)  # the empty word's are no source's
    starts = np.searchsorted(spoken[kept], np.arange(vocabulary + 1))
    arrays = np.sort(order[counts[order] > 0]), starts, said[kept]
    return Shortlist(*(array.astype(np.int32) for array in arrays)), used


def _affordable(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> int:
    """How many of the first pairs have MOST_LINKS links."""
    links = np.cumsum([(len(source) + 1) * len(target) for source, target in zip(sources, targets, strict=True)])
    return 0 if not len(links) or links[-1] == 0 else max(1, int(np.searchsorted(links, MOST_LINKS, "right")))


def translation_chances(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], vocabulary: int, rounds: int
                        ) -> tuple[np.ndarray, np.ndarray]:
    """p(target | source) of IBM model 1 (Brown et al. 1993, section 4.1) for the tokens that stand in a pair together.

    Returns keys source * vocabulary + target, int64 and rising, and the chances, float64. A source token `vocabulary` is the
    empty word, which is in every source.
    """
    links, groups, group = [], [], 0
    for source, target in zip(sources, targets, strict=True):
        spoken, said = np.array([*source, vocabulary], np.int64), np.asarray(target, np.int64)
        links.append((spoken[:, None] * vocabulary + said).ravel())
        groups.append(np.tile(np.arange(group, group + len(said)), len(spoken)))
        group += len(said)
    keys, link = np.unique(np.concatenate(links), return_inverse=True)
    place, spoken = np.concatenate(groups), keys // vocabulary
    chances = np.full(len(keys), 1.0)
    for _ in range(rounds):
        weights = chances[link]
        weights /= np.bincount(place, weights, group)[place]
        expected = np.bincount(link, weights, len(keys))
        chances = expected / np.bincount(spoken, expected, vocabulary + 1)[spoken]
    return keys, chances



