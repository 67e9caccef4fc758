"""Validation: loss of the averaged weights, BLEU and samples of greedy translations."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.nn.model import Model
from weft.spec.decoding import GenerationOptions
from weft.train.batch import Batch
from weft.train.flat import FlatParameters
from weft.train.losses import head_log_likelihood
from weft.train.run import Run


class Validator:
    """Owns a second copy of the model, so that training weights and dropout state stay untouched."""

    def __init__(self, run: Run, dtype: torch.dtype, batches: list[Batch]) -> None:
        self.run, self.batches = run, batches
        self.model = Model(run.config).to(dtype).eval()

    def load(self, flat: FlatParameters, weights: Tensor) -> None:
        state = flat.state(weights)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(state[name])

    @torch.inference_mode()
    def loss(self) -> float:
        """Nats a target token, end-of-sequence included, without label smoothing."""
        total, tokens = 0.0, 0
        for batch in self.batches:
            hidden = self.model.forward_packed(*batch.for_model)
            head = self.model.head
            log_p = head_log_likelihood(head.prepare(hidden), head.weight, head.bias, batch.targets)
            total -= float(log_p.sum(dtype=torch.float64))
            tokens += batch.tokens
        return total / max(tokens, 1)

    def translations(self, count: int) -> list[str]:
        """Greedy translations of the first `count` validation sources."""
        runner = TorchRunner(self.model)
        sources = [row.tolist() for row in itertools.islice(self.run.validation.sources, count)]
        options = GenerationOptions()
        outputs = []
        for start in range(0, len(sources), 100):
            hypotheses = generate_batch(runner, sources[start : start + 100], options)
            outputs += [self.run.task.prediction(self.run.tokenizer, best[0].tokens) for best in hypotheses]
        return outputs

    def bleu(self, outputs: list[str]) -> float:
        return self.run.task.scores(outputs, [target for _, target in self.run.validation_pairs[: len(outputs)]])[0].value
