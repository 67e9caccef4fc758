"""Adam on the flat parameters of a model. One fused pass; its state is two vectors and a count."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.spec.training import TrainingOptions
from weft.train.flat import FlatParameters


class Adam:
    """Adam (Kingma and Ba 2015) with decoupled weight decay on matrices (Loshchilov and Hutter 2019)."""

    def __init__(self, flat: FlatParameters, options: TrainingOptions) -> None:
        self.flat, self.clip = flat, options.clip
        cut = flat.matrices
        parts = [flat.master[:cut], flat.master[cut:]]
        self._parameters = [torch.nn.Parameter(part) for part in parts]
        for parameter, gradient in zip(self._parameters, (flat.gradient[:cut], flat.gradient[cut:]), strict=True):
            parameter.grad = gradient
        decays = (options.weight_decay, 0.0)
        self._adam = torch.optim.AdamW(
            [{"params": [p], "weight_decay": decay} for p, decay in zip(self._parameters, decays, strict=True)],
            lr=0.0, betas=(options.beta1, options.beta2), eps=options.epsilon, fused=True)

    def step(self, learning_rate: float, tokens: int) -> float:
        """Update with the gradient sum over `tokens` target tokens; returns the norm before clipping."""
        gradient = self.flat.gradient
        norm = float(torch.linalg.vector_norm(gradient)) / tokens
        factor = min(1.0, self.clip / (norm + 1e-6)) if self.clip else 1.0
        gradient.mul_(factor / tokens)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self.flat.zero_gradient()
        self.flat.publish()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Tensors to save; empty before the first update."""
        names = ("matrices", "vectors")
        return {f"adam.{name}.{key}": value for name, parameter in zip(names, self._parameters, strict=True)
                for key, value in self._adam.state.get(parameter, {}).items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take what `state` gave."""
        for name, parameter in zip(("matrices", "vectors"), self._parameters, strict=True):
            prefix = f"adam.{name}."
            values = {key.removeprefix(prefix): value.clone() for key, value in state.items()
                      if key.startswith(prefix)}
            if values:
                self._adam.state[parameter] = values
