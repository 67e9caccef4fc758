"""Denoising: an encoder-decoder restores spans that were taken out of a text.

spans: each span becomes one sentinel token, and the target is the sentinels with what they stand for
(T5: Raffel et al. 2020, section 3.1.4). infill: each span becomes one <mask>, and the target is the whole text (BART:
Lewis et al. 2020, section 2.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from weft.data import Ragged
from weft.errors import UsageError
from weft.metrics import Score, accuracy, perplexity
from weft.spec import config as c
from weft.spec.training import TrainingOptions
from weft.tasks.task import Encoded, Example
from weft.tasks.windows import WindowTask, cut, window_size
from weft.text import Tokenizer

Spans = list[tuple[int, int]]
SENTINELS = 64
SHARE = {"spans": 0.15, "infill": 0.3}
MEAN_SPAN = 3.0
LOGITS = 1 << 24
"""Logits held at a time."""


@dataclass(frozen=True)
class Noised:
    """A window with spans taken out: ids of source and target, and where in the target the spans are, [start, end)."""

    source: np.ndarray
    target: np.ndarray
    spans: Spans


class Denoise(WindowTask):
    recipe: ClassVar = {"dropout": 0.1}
    special_tokens = ("<mask>", *(f"<extra_id_{i}>" for i in range(SENTINELS)))

    def epoch(self, encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
              options: TrainingOptions) -> Encoded:
        noised = list(noised_windows(encoded, config, generator, options))
        return Encoded(Ragged(one.source for one in noised), Ragged(one.target for one in noised))

    def evaluate(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, examples: Sequence[Example],
                 confidence: bool = False, options: TrainingOptions | None = None) -> list[Score]:
        """How well the model restores what was taken out of texts, by the objective, context and noise of `options`.

        Every token is told from the true ones before it. A span is restored if the likeliest token is the right one at each of
        its places, and what follows right after it: so greedy search would restore it. It is compared with how often tokens
        stand in what is left of the texts, each counted once more.
        """
        chosen = options or TrainingOptions()
        noised = list(noised_windows(self.encode(tokenizer, examples, config), config, None, chosen))
        told = [pair for one, (log_p, best) in zip(noised, _told(runner, noised, config), strict=True)
                for pair in ((log_p[start:end], best[start : end + 1]) for start, end in one.spans)]
        wanted = [_ended(one.target, config)[start : end + 1] for one in noised for start, end in one.spans]
        nats = -sum(float(log_p.sum(dtype=np.float64)) for log_p, _ in told)
        hidden, left = np.concatenate([span[:-1] for span in wanted]), _left(noised, config)
        unigram = -np.log((left + 1.0) / (left + 1.0).sum())
        signature = f"{chosen.objective}|share:{_share(chosen)}|context:{_size(config, chosen)}"
        return [perplexity(nats, len(hidden), f"those taken out|{signature}"),
                replace(perplexity(float(unigram[hidden].sum()), len(hidden), "the same"), name="unigram perplexity"),
                *_exact(wanted, [best for _, best in told], int(left.argmax()), confidence)]


def _left(noised: Sequence[Noised], config: c.ModelConfig) -> np.ndarray:
    """int64 [V]: how often each token of a text was left where it was."""
    special = config.special
    assert special.mask is not None
    counts = np.bincount(np.concatenate([one.source for one in noised]), minlength=config.vocabulary)
    counts[[*special.prefix, *special.ending, *range(special.mask, min(special.mask + 1 + SENTINELS, config.vocabulary))]] = 0
    return counts


def _exact(wanted: list[np.ndarray], given: list[np.ndarray], commonest: int, confidence: bool) -> Iterator[Score]:
    """Spans restored, in percent: all, and those of one token, which always saying the commonest token is compared with."""
    single = [i for i, span in enumerate(wanted) if len(span) == 2]
    for name, rows in (("spans restored", list(range(len(wanted)))), ("spans of one token restored", single)):
        if rows:
            score = accuracy([" ".join(map(str, given[i])) for i in rows], [" ".join(map(str, wanted[i])) for i in rows],
                             confidence=confidence)
            yield replace(score, name=name, signature=f"spans:{len(rows)}|greedy, given what is before|{score.signature}")
    if single:
        right = sum(int(wanted[i][0]) == commonest for i in single)
        yield Score("the commonest token restores", 100.0 * right / len(single), f"spans:{len(single)}")


def noised_windows(encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
                   options: TrainingOptions) -> Iterator[Noised]:
    """Windows of texts with what the objective takes out; without a generator the same each time.

    Raises UsageError for a model without a mask token, or without sentinels.
    """
    draws, special = generator or np.random.default_rng(0), config.special
    if special.mask is None:
        raise UsageError("this model has no mask token, so nothing can be taken out of a text for it to restore")
    first = special.mask + 1  # sentinels follow the mask in the vocabulary
    if options.objective == "spans" and first + SENTINELS > config.vocabulary:
        raise UsageError(f"this model's vocabulary of {config.vocabulary:,} has no {SENTINELS} sentinels behind the mask "
                         f"token, {special.mask:,}, so it cannot tell spans apart; use --objective infill")
    around = np.array(special.prefix, np.int32), np.array(special.ending, np.int32)
    for window, _ in cut(encoded.targets, _size(config, options), generator):
        spans = draw_spans(len(window), _share(options), draws)
        if options.objective == "spans":
            source, target = replace_spans(window, spans, first)
            found = target_places(spans)
        else:
            source, target, found = _replaced(window, spans, [special.mask] * len(spans)), window, spans
        yield Noised(np.concatenate((around[0], source, around[1])), target, found)


def _share(options: TrainingOptions) -> float:
    return options.noise or SHARE[options.objective]


def _size(config: c.ModelConfig, options: TrainingOptions) -> int:
    return min(window_size(config.window.source, options), config.window.source - SENTINELS)


def _told(runner: Any, noised: Sequence[Noised], config: c.ModelConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each window's target and end: log-probability of every token, float32 [T + 1], and the likeliest one, int [T + 1],
    given those before it."""
    rows = max(1, LOGITS // (config.vocabulary * max(len(one.target) + 1 for one in noised)))
    for start in range(0, len(noised), rows):
        part = noised[start : start + rows]
        logits = runner.logits([one.source.tolist() for one in part],
                               [[config.special.start, *one.target.tolist()] for one in part])
        for one, row in zip(part, logits, strict=True):
            target = _ended(one.target, config)
            row = row[: len(target)]
            highest = row.max(1)
            total = np.log(np.exp(row - highest[:, None]).sum(1)) + highest
            yield row[np.arange(len(target)), target] - total, row.argmax(1)


def _ended(target: np.ndarray, config: c.ModelConfig) -> np.ndarray:
    assert config.special.eos is not None  # every encoder-decoder has it
    return np.append(target, np.int32(config.special.eos))


def draw_spans(length: int, share: float, noise: np.random.Generator) -> Spans:
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


def target_places(spans: Spans) -> Spans:
    """Where spans stand in a target that has a sentinel before each."""
    found, at = [], 0
    for start, end in spans:
        found.append((at + 1, at + 1 + end - start))
        at = found[-1][1]
    return found


def replace_spans(window: np.ndarray, spans: Spans, first: int) -> tuple[np.ndarray, np.ndarray]:
    """T5's source and target with sentinels first, first + 1, ..."""
    target = [part for i, (start, end) in enumerate(spans) for part in ([first + i], window[start:end])]
    return _replaced(window, spans, range(first, first + len(spans))), np.concatenate(target).astype(np.int32)


def _replaced(window: np.ndarray, spans: Spans, tokens: list[int] | range) -> np.ndarray:
    parts, at = [], 0
    for (start, end), token in zip(spans, tokens, strict=True):
        parts += [window[at:start], [token]]
        at = end
    return np.concatenate([*parts, window[at:]]).astype(np.int32)


TASK = Denoise()
