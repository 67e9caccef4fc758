"""Families known from their papers only: as many parameters as published, and they learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from weft.families import jurassic, palm
from weft.nn.model import Model
from weft.spec import config as c
from weft.spec.parameters import count


@pytest.mark.parametrize(("family", "size", "published"), [
    (palm, "8b", 8.63e9), (palm, "62b", 62.50e9), (palm, "540b", 540.35e9),
    (jurassic, "large", 7.5e9), (jurassic, "jumbo", 178e9)])
def test_parameters_are_as_many_as_published(family: object, size: str, published: float) -> None:
    config = family.config(family.VOCABULARY, **family.SIZES[size])  # type: ignore[attr-defined]
    assert count(config) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("config", [
    pytest.param(palm.config(20, layers=2, width=32, heads=4, head_size=8, window=32), id="palm"),
    pytest.param(jurassic.config(20, layers=2, width=32, heads=4, window=32), id="jurassic")])
def test_a_small_one_learns_a_repeating_pattern(config: c.ModelConfig) -> None:
    """From any start of the cycle 4, 5, ..., 11, 4, ... to its next token, in 60 steps."""
    model = Model(config).initialise(0).train()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    ids = 4 + (torch.arange(17) + torch.arange(8)[:, None]) % 8  # [B, T + 1]
    losses = []
    for _ in range(60):
        logits = model.head(model(None, None, ids[:, :-1]))
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
