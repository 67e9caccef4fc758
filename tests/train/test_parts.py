"""Flat parameters, Adam, averages, schedules and dropout, each against the slow obvious version."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from weft.data import Ragged
from weft.families import transformer
from weft.nn.dropout import dropout_mask
from weft.nn.embedding import embed
from weft.nn.model import Model
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded
from weft.train.averaging import Average
from weft.train.batch import make_batch
from weft.train.flat import FlatParameters
from weft.train.losses import head_cross_entropy
from weft.train.optimiser import Adam
from weft.train.replicas import Replicas
from weft.train.schedule import learning_rate_factor


def small_model(seed: int = 0) -> Model:
    return Model(transformer.config(30, layers=1, width=8, heads=2, feed_forward=16)).initialise(seed).train()


def backward(model: Model, rows: slice) -> int:
    """Add the summed-loss gradient of some rows of a fixed batch; returns its target tokens."""
    generator = torch.Generator().manual_seed(1)
    source, target, labels = (torch.randint(4, 30, (8, 5), generator=generator)[rows] for _ in range(3))
    hidden = model(source, None, target).flatten(0, 1)
    head_cross_entropy(hidden, model.head.weight, None, labels.flatten(), 0.1).backward()
    return labels.numel()


def test_accumulated_small_batches_equal_one_big_one() -> None:
    """The gradient a token, and the weights after updates; but for key biases, whose true gradient is zero
    (softmax ignores a shift of all scores), so that Adam turns rounding noise into steps."""
    gradients, weights = [], []
    for parts in (1, 2, 4, 8):
        model = small_model()
        flat = FlatParameters(model)
        adam = Adam(flat, TrainingOptions(epsilon=1e-6))
        for update in range(3):
            size = 8 // parts
            tokens = 0
            for start in range(0, 8, size):
                tokens += backward(model, slice(start, start + size))
                flat.collect()
            if update == 0:
                gradients.append(flat.gradient / tokens)
            adam.step(0.001, tokens)
        weights.append(torch.cat([tensor.flatten() for name, tensor in flat.state().items() if "key.bias" not in name]))
    for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(weight, weights[0], rtol=0, atol=1e-6)


def test_a_step_equals_torchs_adamw_with_clipping() -> None:
    ours, theirs = small_model(), small_model()
    options = TrainingOptions(clip=0.1, weight_decay=0.1)
    flat = FlatParameters(ours)
    adam = Adam(flat, options)
    matrices = [p for p in theirs.parameters() if p.dim() >= 2]
    vectors = [p for p in theirs.parameters() if p.dim() < 2]
    reference = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=0.01, betas=(0.9, 0.98), eps=1e-9)
    for _ in range(3):
        tokens = backward(ours, slice(None))
        flat.collect()
        adam.step(0.01, tokens)
        reference.zero_grad()
        tokens = backward(theirs, slice(None))
        for parameter in theirs.parameters():
            parameter.grad /= tokens
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
        reference.step()
    expected = dict(theirs.named_parameters())
    for name, tensor in flat.state().items():
        if "key.bias" in name:  # its true gradient is zero
            continue
        torch.testing.assert_close(tensor, expected[name].detach(), rtol=1e-4, atol=1e-6)


def test_bfloat16_keeps_a_float32_master() -> None:
    model = small_model()
    flat = FlatParameters(model, torch.bfloat16)
    before = flat.master.clone()
    adam = Adam(flat, TrainingOptions(clip=0.0))
    for _ in range(3):
        tokens = backward(model, slice(None))
        flat.collect()
        adam.step(1e-5, tokens)
    assert (flat.master != before).float().mean() > 0.5, "steps far below bfloat16's resolution must add up"
    torch.testing.assert_close(flat.compute, flat.master.bfloat16())
    assert model.source_embedding.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_replicas_side_by_side_equal_one_model(dtype: torch.dtype, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    sources, targets = ([rng.integers(4, 30, n).tolist() for n in (5, 3, 7, 4, 1, 6)] for _ in range(2))
    config = small_model().config
    found = []
    for count, parts in ((1, [range(6)]), (2, [range(3), range(3, 6)]), (2, [range(2), range(2, 5), range(5, 6)])):
        model = small_model()
        flat = FlatParameters(model, dtype)
        replicas = Replicas(model, flat, torch.get_num_threads(), count)
        batches = [make_batch(Encoded(Ragged(sources), Ragged(targets)), list(part), config) for part in parts]
        for _ in range(2):  # the second time as after an optimiser step
            flat.zero_gradient()
            loss = replicas.backward(batches, 0.1)
        found.append((loss, flat.gradient.clone()))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=tolerance)
        assert (gradient - found[0][1]).norm() <= tolerance * found[0][1].norm()


def test_dropout_of_replicas_depends_on_the_seed_only() -> None:
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = small_model().set_dropout(0.5)
        replicas = Replicas(model, FlatParameters(model), torch.get_num_threads(), 2)
        examples = Encoded(Ragged([[5, 6, 3]] * 4), Ragged([[7, 8]] * 4))
        batches = [make_batch(examples, [i, i + 1], model.config) for i in (0, 2)]
        losses.append([replicas.backward(batches, 0.0) for _ in range(3)])
    assert losses[0] == losses[1] != losses[2]


def test_embedding_gradient_adds_up_in_float32() -> None:
    weight = torch.zeros(3, 4, dtype=torch.bfloat16, requires_grad=True)
    embed(weight, torch.zeros(1000, dtype=torch.int64), 2.0).backward(torch.full((1000, 4), 1.0, dtype=torch.bfloat16))
    assert torch.equal(weight.grad[0].float(), torch.full((4,), 2000.0)), "bfloat16 sums would stall at 256"


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.3])
def test_dropout_mask_has_the_right_share_and_mean(probability: float) -> None:
    torch.manual_seed(0)
    kept, scale = dropout_mask(torch.Size([1000, 1001]), probability, torch.zeros((), dtype=torch.float32))
    mask = kept * scale
    kept = (mask > 0).double().mean().item()
    assert abs(kept - (1 - probability)) < 5 * math.sqrt(probability * (1 - probability) / mask.numel()) + 1 / 512
    assert mask[mask > 0].unique().numel() == 1
    assert mask.mean().item() == pytest.approx(1.0, abs=2e-3)
    columns = (mask > 0).double().mean(0)
    assert (columns - kept).abs().max() < 6 * math.sqrt(probability * (1 - probability) / 1000), "no column is favoured"


def test_ema_and_last_average() -> None:
    master = torch.zeros(2)
    ema, last = Average(master, 0.5, 0), Average(master, 0.0, 2)
    expected = torch.zeros(2)
    for step in range(1, 5):
        master.fill_(float(step))
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        last.snapshot()
    torch.testing.assert_close(ema.weights(), expected)
    torch.testing.assert_close(last.weights(), torch.full((2,), 3.5))


def test_schedules() -> None:
    """inverse_sqrt times width**-0.5 * warmup**-0.5 is equation 3 of Vaswani et al. 2017."""
    for step in (1, 1000, 4000, 100_000):
        paper = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        ours = 512**-0.5 * 4000**-0.5 * learning_rate_factor("inverse_sqrt", step, 4000, 0.0)
        assert ours == pytest.approx(paper)
    for schedule in ("linear", "cosine"):
        factors = [learning_rate_factor(schedule, step, 10, step / 1000) for step in range(1, 1001)]
        assert factors[4] == pytest.approx(0.5, abs=0.01) and max(factors) > 0.98
        assert factors[-1] == pytest.approx(0.0, abs=1e-9)
        assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert learning_rate_factor("constant", 500, 10, 0.5) == 1.0
