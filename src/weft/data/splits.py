"""A validation set for users who have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Pair = tuple[str, str]


def hold_out_labelled(pairs: Sequence[Pair], labels: Callable[[str], set[str]], *, seed: int, share: float = 0.02,
                      most: int = 1000) -> tuple[list[Pair], list[Pair]]:
    """Split texts with labels into (training, validation), the same for a seed.

    No text of the validation part stands in the training part, and no label is in the validation part alone.
    labels: those of a target.
    """
    texts = list(dict.fromkeys(text for text, _ in pairs))
    order = np.random.default_rng(seed).permutation(len(texts))
    drawn = {texts[i] for i in order[: max(1, min(most, round(share * len(texts))))]}
    known = {label for text, target in pairs if text not in drawn for label in labels(target)}
    held = drawn - {text for text, target in pairs if not labels(target) <= known}
    return [pair for pair in pairs if pair[0] not in held], [pair for pair in pairs if pair[0] in held][:most]


def hold_out(pairs: Sequence[Pair], *, seed: int, share: float = 0.02, most: int = 1000) -> tuple[list[Pair], list[Pair]]:
    """Split into (training, validation), the same for a seed.

    No source or target text of the validation part stands in the training part: pairs that share one with a
    drawn pair leave training, and join the validation part unless they in turn share one with training.
    """
    wanted = max(1, min(most, round(share * len(pairs))))
    order = np.random.default_rng(seed).permutation(len(pairs))
    sources, targets = (set(texts) for texts in zip(*(pairs[i] for i in order[:wanted]), strict=True))
    touching = [source in sources or target in targets for source, target in pairs]
    if all(touching):  # every example is alike: a split by text is not possible
        held = set(order[:wanted].tolist())
        return [pair for i, pair in enumerate(pairs) if i not in held], [pairs[i] for i in sorted(held)]
    train = [pair for pair, touches in zip(pairs, touching, strict=True) if not touches]
    known_sources, known_targets = (set(texts) for texts in zip(*train, strict=True))
    held_out = [pair for pair in pairs if pair[0] not in known_sources and pair[1] not in known_targets]
    return train, held_out[:most]
