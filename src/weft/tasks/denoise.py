"""Denoising: an encoder-decoder restores spans that were taken out of a text.

spans: each span becomes one sentinel token, and the target is the sentinels with what they stand for
(T5: Raffel et al. 2020, section 3.1.4). infill: each span becomes one <mask>, and the target is the whole text (BART:
Lewis et al. 2020, section 2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from weft.data import Ragged
from weft.spec import config as c
from weft.tasks.task import Encoded
from weft.tasks.windows import WindowTask, cut, window_size

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

SENTINELS = 64
SHARE = {"spans": 0.15, "infill": 0.3}
MEAN_SPAN = 3.0


class Denoise(WindowTask):
    recipe: ClassVar = {"dropout": 0.1}
    special_tokens = ("<mask>", *(f"<extra_id_{i}>" for i in range(SENTINELS)))

    def epoch(self, encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
              options: TrainingOptions) -> Encoded:
        noise, special = generator or np.random.default_rng(0), config.special
        assert special.mask is not None
        first = special.mask + 1  # sentinels follow the mask in the vocabulary
        share = options.noise or SHARE[options.objective]
        size = min(window_size(config.window.source, options), config.window.source - SENTINELS)
        sources, targets = [], []
        for window, _ in cut(encoded.targets, size, generator):
            spans = draw_spans(len(window), share, noise)
            if options.objective == "spans":
                source, target = replace_spans(window, spans, first)
            else:
                source, target = _replaced(window, spans, [special.mask] * len(spans)), window
            sources.append(np.append(source, np.array(special.ending, np.int32)))
            targets.append(target)
        return Encoded(Ragged(sources), Ragged(targets))


def draw_spans(length: int, share: float, noise: np.random.Generator) -> list[tuple[int, int]]:
    """Disjoint, not touching [start, end) that together hold about `share` of `length` tokens, 3 each on average."""
    hidden = min(max(1, round(length * share)), length)
    count = max(1, min(round(hidden / MEAN_SPAN), SENTINELS, length - hidden))
    sizes = _parts(hidden, count, noise)
    gaps = _parts(length - hidden + 2, count + 1, noise)  # the outer two may be empty
    gaps[0] -= 1
    spans, at = [], 0
    for gap, size in zip(gaps, sizes, strict=False):
        spans.append((at + gap, at + gap + size))
        at += gap + size
    return spans


def _parts(total: int, count: int, noise: np.random.Generator) -> list[int]:
    """`total` as a sum of `count` numbers of at least 1, all such sums equally likely."""
    cuts = np.sort(noise.choice(total - 1, count - 1, replace=False)) + 1 if count > 1 else np.array([], int)
    return np.diff([0, *cuts.tolist(), total]).tolist()


def replace_spans(window: np.ndarray, spans: list[tuple[int, int]], first: int) -> tuple[np.ndarray, np.ndarray]:
    """T5's source and target with sentinels first, first + 1, ..."""
    target = [part for i, (start, end) in enumerate(spans) for part in ([first + i], window[start:end])]
    return _replaced(window, spans, range(first, first + len(spans))), np.concatenate(target).astype(np.int32)


def _replaced(window: np.ndarray, spans: list[tuple[int, int]], tokens: list[int] | range) -> np.ndarray:
    parts, at = [], 0
    for (start, end), token in zip(spans, tokens, strict=True):
        parts += [window[at:start], [token]]
        at = end
    return np.concatenate([*parts, window[at:]]).astype(np.int32)


TASK = Denoise()
