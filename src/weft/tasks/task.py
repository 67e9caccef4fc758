"""What a task is: examples to model inputs and targets, output back to a prediction, and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from weft import data
from weft.data import Ragged
from weft.errors import DataError
from weft.metrics import Score
from weft.spec import config as c
from weft.text import Tokenizer

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

Example = tuple[str, str]
CHUNK = 50_000
"""Examples whose ids are Python lists at one time."""
IGNORED = -1
"""The target of a position that has none."""


@dataclass(frozen=True)
class Encoded:
    """Examples as ids.

    encoder-decoder: a source as the encoder reads it; a target that has neither start nor eos yet.
    decoder-only: no sources; a target is fed but for its last token, and is what is to be said but for its first.
    encoder-only: a source as the encoder reads it; a target is a label for each of its positions, or IGNORED, or one
    label for all of it (classification).
    """

    sources: Ragged
    targets: Ragged

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N, 2]: positions that the encoder and the decoder see."""
        return np.stack((self.sources.lengths, self.targets.lengths + 1), 1)

    def rows(self, kept: Sequence[int]) -> Encoded:
        return Encoded(self.sources.take(kept), self.targets.take(kept))

    def __len__(self) -> int:
        return len(self.targets)


class Task:
    """The base of all tasks. A task overrides what is its own; examples are (input, answer) as text.

    kind: of the models that it trains. metric: the name of the first of its scores. special_tokens: what its
    tokenizer has besides the usual ones.
    """

    kind: ClassVar[Literal["encoder-decoder", "encoder-only", "decoder-only"]] = "encoder-decoder"
    metric: ClassVar[str] = ""
    by_score: ClassVar[bool] = False
    """Whether the best weights are those with the best score, and not the lowest loss."""
    special_tokens: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training options that it would have other than the size's (weft.train.plan)."""
    least_updates: ClassVar[int] = 3000
    """However little data there is, a model needs about that many."""
    windows: ClassVar[bool] = False
    """Whether examples are texts of any length, cut into windows anew for every epoch."""

    # ------------------------------------------------------------ examples

    def read(self, paths: Sequence[Path], options: TrainingOptions) -> list[Example]:
        """Raises DataError."""
        examples = data.read_pairs(paths, options.source_column, options.target_column)
        data.require_examples(examples, paths, at_least=1)
        return examples

    def hold_out(self, examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        """(training, validation) where the user gives no validation file."""
        return data.hold_out(examples, seed=seed)

    def texts(self, examples: Sequence[Example]) -> Iterator[str]:
        """What the tokenizer is trained on."""
        return data.texts(examples)

    def head(self, examples: Sequence[Example]) -> c.Head:
        return c.LanguageModelHead()

    # ------------------------------------------------------------ ids

    def sources(self, tokenizer: Tokenizer, texts: Sequence[str], special: c.SpecialTokens) -> list[list[int]]:
        """Texts -> encoder ids."""
        return [[*special.prefix, *ids, *special.ending] for ids in tokenizer.encode_batch(texts)]

    def encode(self, tokenizer: Tokenizer, examples: Sequence[Example], config: c.ModelConfig) -> Encoded:
        """Examples -> ids. Every task that is trained has its own."""
        raise NotImplementedError

    def epoch(self, encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
              options: TrainingOptions) -> Encoded:
        """What one epoch trains on; None: what validation uses, the same each time."""
        return encoded

    # ------------------------------------------------------------ answers

    def predict(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, inputs: Sequence[str]) -> list[str]:
        """Quick answers for validation while training; empty where there is nothing to compare."""
        return []

    def evaluate(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, examples: Sequence[Example],
                 confidence: bool = False, options: TrainingOptions | None = None) -> list[Score]:
        """Scores of a model on examples. options: what a task asks of them in training, where it asks the same here."""
        outputs = self.predict(runner, tokenizer, config, [given for given, _ in examples])
        return self.scores(outputs, [wanted for _, wanted in examples], confidence)

    def missing(self) -> str:
        """Why there are no scores: a package that is not installed; else nothing."""
        return ""

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        """Default metrics, the first of them the one that training logs."""
        return []


def fitted(row: Sequence[int], config: c.ModelConfig) -> list[int]:
    """A source, cut to the window if it is longer; what stands after a text stays."""
    ending = config.special.ending
    room = config.window.source - len(ending)
    if len(row) <= config.window.source or room < 1 or tuple(row[len(row) - len(ending):]) != ending:
        return list(row[: config.window.source])
    return [*row[:room], *ending]


def chunks(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """At most CHUNK examples at a time."""
    return (examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK))


def label_index(labels: Sequence[str], label: str) -> int:
    """Raises DataError for a label that training did not have."""
    if label not in labels:
        raise DataError(f"label {label!r} is not among those of the training data: {', '.join(labels)}")
    return labels.index(label)
