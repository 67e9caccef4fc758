"""Masked words (Devlin et al. 2019, section 3.1): an encoder guesses tokens that are hidden from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from weft.data import Ragged
from weft.errors import UsageError, WindowError
from weft.spec import config as c
from weft.tasks.task import IGNORED, Encoded
from weft.tasks.windows import WindowTask, cut, window_size
from weft.text import Tokenizer

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

SHARE = 0.15
MASK = re.compile(r"\[MASK\]|<mask>")
"""How a user writes a hidden word, whatever the model's own spelling is."""
WHITE = "".join(one for one in map(chr, range(0x3001)) if one.isspace() and not 0x1C <= ord(one) <= 0x1F)
"""Unicode's white space; Python's str.strip() takes four control characters more."""


@dataclass(frozen=True)
class Candidate:
    """A token for a hidden place; text: what it spells."""

    text: str
    token: int
    probability: float


class Fill(WindowTask):
    kind = "encoder-only"
    special_tokens = ("<mask>",)
    recipe: ClassVar = {"dropout": 0.1, "learning_rate": 2e-3, "warmup": 500, "epochs": 60.0}

    def epoch(self, encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
              options: TrainingOptions) -> Encoded:
        """Of each window some tokens are to be guessed: 80% of them hidden, 10% another token, 10% as they are."""
        noise = generator or np.random.default_rng(0)
        special = config.special
        prefix = np.array(special.prefix, np.int32)
        suffix = np.array(special.ending, np.int32)
        size = window_size(config.window.source, options)
        sources, targets = [], []
        for window, _ in cut(encoded.targets, size - len(prefix) - len(suffix), generator):
            hidden, labels = _hide(window, config, options.noise or SHARE, noise)
            sources.append(np.concatenate((prefix, hidden, suffix)))
            targets.append(np.pad(labels, (len(prefix), len(suffix)), constant_values=IGNORED))
        return Encoded(Ragged(sources), Ragged(targets))


def _hide(window: np.ndarray, config: c.ModelConfig, share: float, noise: np.random.Generator
          ) -> tuple[np.ndarray, np.ndarray]:
    """The window as the model sees it, and the labels of its positions."""
    chosen = noise.random(len(window)) < share
    chosen[noise.integers(len(window))] = True  # at least one
    how = noise.random(len(window))
    mask = config.special.pad if config.special.mask is None else config.special.mask
    hidden = np.where(chosen & (how < 0.8), mask, window)
    hidden = np.where(chosen & (how >= 0.9), noise.integers(0, config.vocabulary, len(window)), hidden)
    return hidden.astype(np.int32), np.where(chosen, window, IGNORED).astype(np.int32)


def encode_masked(tokenizer: Tokenizer, special: c.SpecialTokens, text: str) -> tuple[list[int], list[int]]:
    """Ids of a text with hidden words, and their places. Raises UsageError if there are none."""
    if special.mask is None:
        raise UsageError("this model has no mask token, so it cannot fill in words")
    parts = MASK.split(text)
    if len(parts) == 1:
        raise UsageError(f"no hidden word in {text[:60]!r}: write [MASK] or <mask> where the model is to fill in")
    ids, places = list(special.prefix), []
    before, after = tokenizer.strips(special.mask)
    for index, part in enumerate(parts):
        if index:
            places.append(len(ids))
            ids.append(special.mask)
            part = part.lstrip(WHITE) if after else part
        if index < len(parts) - 1:
            part = part.rstrip(WHITE if before else " ")  # the token that comes brings its own space
        ids += tokenizer.encode(part) if part else []
    return [*ids, *special.ending], places


def fill(runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, text: str, top: int) -> list[list[Candidate]]:
    """For each hidden word its `top` likeliest tokens, best first; each is guessed with all of them hidden."""
    ids, places = encode_masked(tokenizer, config.special, text)
    if len(ids) > config.window.source:
        raise WindowError(f"the text has {len(ids)} tokens; the model's window is {config.window.source}. Shorten it")
    logits = runner.score([ids])[0][places].astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    best = np.argsort(-shares, 1, kind="stable")[:, :top]
    return [[Candidate(_spelled(tokenizer, int(token)), int(token), float(row[token])) for token in tokens]
            for row, tokens in zip(shares, best, strict=True)]


def _spelled(tokenizer: Tokenizer, token: int) -> str:
    """What a token adds to a text; the name of one that adds nothing, such as </s>."""
    return tokenizer.decode([token]).strip() or tokenizer.tokens([token])[0]


TASK = Fill()
