"""The fused loss against torch's own, value and gradients."""

from __future__ import annotations

import pytest
import torch

from weft.train import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_equals_torch(monkeypatch: pytest.MonkeyPatch, smoothing: float, bias: bool, chunk: int) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", chunk)
    torch.manual_seed(0)
    tensors = [torch.randn(50, 16), torch.randn(30, 16), *([torch.randn(30)] if bias else [])]
    ours = [tensor.clone().requires_grad_() for tensor in tensors]
    theirs = [tensor.clone().requires_grad_() for tensor in tensors]
    targets = torch.randint(0, 30, (50,))
    loss = losses.head_cross_entropy(ours[0], ours[1], ours[2] if bias else None, targets, smoothing)
    (loss * 0.5).backward()
    logits = torch.nn.functional.linear(theirs[0], theirs[1], theirs[2] if bias else None)
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    (expected * 0.5).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_bfloat16_gradient_is_close() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 32), torch.randn(100, 32) * 0.3
    targets = torch.randint(0, 100, (64,))
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        pair = [tensor.to(dtype).detach().requires_grad_() for tensor in (hidden, weight)]
        losses.head_cross_entropy(pair[0], pair[1], None, targets, 0.1).backward()
        gradients.append([tensor.grad.float() for tensor in pair])
    for exact, rounded in zip(*gradients, strict=True):
        assert (exact - rounded).norm() / exact.norm() < 0.02


def test_log_likelihood_equals_torch() -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(40, 8), torch.randn(20, 8), torch.randint(0, 20, (40,))
    expected = -torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="none")
    torch.testing.assert_close(losses.head_log_likelihood(hidden, weight, None, targets), expected)
