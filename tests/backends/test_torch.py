"""The torch Runner's choice of the likeliest tokens, against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weft.backends.torch import TorchRunner, _best
from weft.families import scratch
from weft.nn.model import Model
from weft.spec.runner import Best


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-3)])
@pytest.mark.parametrize("shift", [0.0, -30.0, 120.0, -120.0], ids=["around-zero", "all-negative", "large", "small"])
@pytest.mark.parametrize("size", [7, 300, 5000])
def test_best_of_any_logits(dtype: torch.dtype, tolerance: float, shift: float, size: int) -> None:
    """Rounded values tie often; banned ones are -inf."""
    generator = torch.Generator().manual_seed(size)
    logits = (torch.randn(9, size, generator=generator) * 3 + shift).to(dtype)
    logits[:, 1::5] = -torch.inf
    exact = logits.double()
    expected = np.argsort(-exact.numpy(), axis=1, kind="stable")[:, :4]
    best = _best(logits.clone(), 4)
    np.testing.assert_array_equal(best.tokens, expected)
    log_probs = torch.log_softmax(exact, 1).gather(1, torch.from_numpy(expected))
    np.testing.assert_allclose(best.log_probs, log_probs, atol=tolerance)


def test_select_is_the_choice_of_a_step_from_other_logits() -> None:
    runner = TorchRunner(Model(scratch.BUILDERS["llama"][1](60, layers=1, width=16, heads=2, feed_forward=24)).initialise(1))
    answers = []
    for asked in ((), (4, (2, 3))):
        runner.start(None, 3, [[5], [6, 7]])
        answers.append(runner.step(np.array([8, 9, 10, 8, 9, 10]), *asked))
    whole, best = answers
    assert isinstance(whole, np.ndarray) and isinstance(best, Best)
    whole[:, [2, 3]] = -np.inf
    found = runner.select(whole, 4)
    np.testing.assert_array_equal(found.tokens, best.tokens)
    np.testing.assert_array_equal(found.log_probs, best.log_probs)


def test_select_where_little_or_nothing_is_left() -> None:
    logits = np.full((3, 300), -np.inf, np.float32)
    logits[1, 7], logits[2, [9, 4]] = 5.0, 1.0
    found = TorchRunner.select(object.__new__(TorchRunner), logits, 3)
    np.testing.assert_array_equal(found.tokens, [[0, 1, 2], [7, 0, 1], [4, 9, 0]])
    np.testing.assert_allclose(found.log_probs, [[-np.inf] * 3, [0.0, -np.inf, -np.inf], [-np.log(2), -np.log(2), -np.inf]])
