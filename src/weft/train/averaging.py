"""Averages of the weights along a run: exponential, or of the last snapshots."""

from __future__ import annotations

import torch
from torch import Tensor


class Average:
    """`ema` > 0: an exponential moving average with that decay, shorter at first; `last` > 1: the mean of the
    newest `last` snapshots (Vaswani et al. 2017, section 6.1). Neither: the weights themselves."""

    def __init__(self, master: Tensor, ema: float, last: int) -> None:
        self.master, self.ema, self.last = master, ema, last
        self.mean = master.clone() if ema else None
        self.snapshots: list[Tensor] = []

    def update(self, step: int) -> None:
        """After update `step`, counted from 1."""
        if self.mean is not None:
            decay = min(self.ema, (1.0 + step) / (10.0 + step))
            self.mean.lerp_(self.master, 1.0 - decay)

    def snapshot(self) -> None:
        if self.last > 1:
            self.snapshots = [*self.snapshots, self.master.clone()][-self.last :]

    def weights(self) -> Tensor:
        if self.mean is not None:
            return self.mean
        return torch.stack(self.snapshots).mean(0) if self.snapshots else self.master

    def state(self) -> dict[str, Tensor]:
        ema = {} if self.mean is None else {"average.ema": self.mean}
        return ema | {f"average.snapshot.{i}": tensor for i, tensor in enumerate(self.snapshots)}

    def load(self, state: dict[str, Tensor]) -> None:
        if self.mean is not None:
            self.mean.copy_(state["average.ema"])
        count = sum(key.startswith("average.snapshot.") for key in state)
        self.snapshots = [state[f"average.snapshot.{i}"].clone() for i in range(count)]
