"""The torch Runner's choice of the likeliest tokens, against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weft.backends.torch import _best


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
