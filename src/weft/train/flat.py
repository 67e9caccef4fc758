"""All parameters of a model in one vector, so that an optimiser step is a few passes over memory.

The module computes with views into `compute` (bfloat16 or float32), the optimiser owns `master` (float32).
In float32 they are one tensor. Gradients of small batches add up in float32.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class FlatParameters:
    """Takes over the parameters of `module`: matrices first, then vectors (which get no weight decay)."""

    def __init__(self, module: nn.Module, compute_dtype: torch.dtype = torch.float32) -> None:
        named = sorted(module.named_parameters(), key=lambda item: item[1].dim() < 2)
        self.names = [name for name, _ in named]
        self.shapes = [parameter.shape for _, parameter in named]
        self.matrices = sum(parameter.numel() for _, parameter in named if parameter.dim() >= 2)
        self.master = torch.cat([parameter.detach().float().reshape(-1) for _, parameter in named])
        self.gradient = torch.zeros_like(self.master)
        self.mixed = compute_dtype != torch.float32
        self.compute = self.master.to(compute_dtype) if self.mixed else self.master
        self._empty = True
        """Whether no gradient has been collected since the last `zero_gradient`."""
        self._fresh: list[Tensor] = []
        """Where each module's backward passes add up their gradients."""
        self._attach(module, torch.zeros_like(self.compute) if self.mixed else self.gradient)

    def _attach(self, module: nn.Module, gradient: Tensor) -> None:
        parameters = dict(module.named_parameters())
        for name, value, part in zip(self.names, self.views(self.compute), self.views(gradient), strict=True):
            parameters[name].data = value
            parameters[name].grad = part
        self._fresh.append(gradient)

    def replicate(self, module: Module) -> Module:
        """A copy of `module` with the same weights in memory and gradients of its own."""
        replica = copy.deepcopy(module)
        self._attach(replica, torch.zeros_like(self.compute))
        return replica

    def views(self, flat: Tensor) -> list[Tensor]:
        """`flat` cut into one view per parameter."""
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def collect(self) -> None:
        """After a backward pass of every module: add their gradients, in order, to the float32 sum."""
        for fresh in self._fresh:
            if fresh is self.gradient:
                continue
            if self._empty and self.mixed:
                self.gradient.copy_(fresh)
            else:
                self.gradient += fresh
            fresh.zero_()
            self._empty = False

    def zero_gradient(self) -> None:
        self._empty = True
        if not self.mixed:
            self.gradient.zero_()

    def publish(self) -> None:
        """After an optimiser step: let the module compute with the new values."""
        if self.mixed:
            self.compute.copy_(self.master)

    def state(self, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Name -> float32 tensor, of the master weights or of another vector of their length."""
        return dict(zip(self.names, self.views(self.master if flat is None else flat), strict=True))
