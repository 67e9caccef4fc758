"""Translation: a source text, a target text; scored by BLEU and chrF."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from weft.data import Ragged
from weft.decode import generate_batch
from weft.metrics import Score, bleu, chrf
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.tasks.task import Encoded, Example, Task, chunks
from weft.text import Tokenizer


class Translate(Task):
    metric = "BLEU"
    recipe: ClassVar = {"label_smoothing": 0.1}

    def encode(self, tokenizer: Tokenizer, examples: Sequence[Example], config: c.ModelConfig) -> Encoded:
        return Encoded(
            Ragged(row for chunk in chunks(examples)
                   for row in self.sources(tokenizer, [source for source, _ in chunk], config.special)),
            Ragged(row for chunk in chunks(examples) for row in tokenizer.encode_batch([target for _, target in chunk])))

    def predict(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, inputs: Sequence[str]) -> list[str]:
        """Greedy translations."""
        outputs = []
        for start in range(0, len(inputs), 100):
            sources = self.sources(tokenizer, inputs[start : start + 100], config.special)
            outputs += [tokenizer.decode(best[0].tokens) for best in generate_batch(runner, sources, GenerationOptions())]
        return outputs

    def missing(self) -> str:
        return "" if find_spec("sacrebleu") else "BLEU and chrF need the package sacrebleu: pip install 'weft[eval]'"

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        return [metric(predictions, references, confidence=confidence) for metric in (bleu, chrf)]


TASK = Translate()
