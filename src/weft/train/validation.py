"""Validation: loss of the averaged weights, the task's metric and samples of its answers."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.backends.torch import TorchRunner
from weft.nn.model import Model
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
        """Nats a target, end-of-sequence included, without label smoothing."""
        total, tokens = 0.0, 0
        for batch in self.batches:
            hidden = self.model.features(*batch.for_model)
            head = self.model.head
            log_p = head_log_likelihood(head.prepare(hidden), head.weight, head.bias, batch.targets)
            total -= float(log_p.sum(dtype=torch.float64))
            tokens += batch.tokens
        return total / max(tokens, 1)

    def answers(self, count: int) -> list[str]:
        """What the task answers to the first `count` validation inputs, quickly; empty where it has no answers."""
        inputs = [given for given, _ in self.run.validation_examples[:count]]
        return self.run.task.predict(TorchRunner(self.model), self.run.tokenizer, self.run.config, inputs)

    def score(self, outputs: list[str]) -> float:
        return self.run.task.scores(outputs, [wanted for _, wanted in self.run.validation_examples[: len(outputs)]])[0].value
