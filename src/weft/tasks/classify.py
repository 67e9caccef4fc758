"""Classification: a text, one label (or several)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from weft import data
from weft.data import Ragged
from weft.errors import DataError
from weft.metrics import Score, accuracy
from weft.spec import config as c
from weft.tasks.task import Encoded, Example, Task, chunks, fitted, label_index
from weft.text import Tokenizer


@dataclass(frozen=True)
class Classified:
    """label: the likeliest. probabilities: of every label, in the model's order; of a regression, the numbers themselves."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Classify(Task):
    kind = "encoder-only"
    metric = "accuracy"
    recipe: ClassVar = {"dropout": 0.2, "learning_rate": 1e-3, "warmup": 100, "epochs": 10.0}
    least_updates = 500
    by_score = True  # the loss rises with over-confidence while more answers are still right

    def hold_out(self, examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        return data.hold_out_labelled(examples, lambda label: {label}, seed=seed)

    def texts(self, examples: Sequence[Example]) -> Any:
        return (text for text, _ in examples)

    def head(self, examples: Sequence[Example]) -> c.Head:
        labels = tuple(sorted({label for _, label in examples}))
        if len(labels) < 2:
            raise DataError(f"every training example has the label {labels[0]!r}; a classifier needs two or more to tell apart."
                            f" Are the columns right (--source-column, --target-column)?")
        return c.ClassificationHead(labels, pooling="mean")

    def encode(self, tokenizer: Tokenizer, examples: Sequence[Example], config: c.ModelConfig) -> Encoded:
        assert isinstance(config.head, c.ClassificationHead)
        labels = config.head.labels
        sources = Ragged(row for chunk in chunks(examples)
                         for row in self.sources(tokenizer, [text for text, _ in chunk], config.special))
        return Encoded(sources, Ragged([label_index(labels, label)] for _, label in examples))

    def predict(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, inputs: Sequence[str]) -> list[str]:
        rows = self.sources(tokenizer, inputs, config.special)
        return [one.label for one in classified(runner.score_all([fitted(row, config) for row in rows]), config)]

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        return [accuracy(predictions, references, confidence=confidence)]


def classified(logits: Sequence[np.ndarray], config: c.ModelConfig) -> list[Classified]:
    """Logits [labels] of each text -> its answer."""
    assert isinstance(config.head, c.ClassificationHead)
    found = []
    for row in logits:
        shares = _shares(row.astype(np.float64), config.head)
        best = int(shares.argmax())
        found.append(Classified(config.head.labels[best], float(shares[best]),
                                dict(zip(config.head.labels, map(float, shares), strict=True))))
    return found


def _shares(logits: np.ndarray, head: c.ClassificationHead) -> np.ndarray:
    """As the text-classification pipeline of transformers has them."""
    if head.regression:
        return logits
    if head.multi_label or len(head.labels) == 1:
        return 1.0 / (1.0 + np.exp(-logits))
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


TASK = Classify()
