"""Cross-entropy of a language-model head, fused with the head's matrix products.

The logits of a batch (4,096 x 8,000 and more) are the largest tensor of a training step. They are made, turned
into a gradient and used up in chunks that stay in cache, so they are never stored whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 8 << 20
"""Logits a chunk holds, 16 MB in bfloat16: smaller ones spend more on adding up the weight gradient, larger ones
leave the cache."""


class _HeadCrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of rows; backward only hands them out."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
                ) -> Tensor:
        vocabulary = weight.shape[0]
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = None
        bias_gradient = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float64)
        step = max(1, min(len(hidden), CHUNK_ELEMENTS // vocabulary))
        logits = hidden.new_empty(step, vocabulary)
        mean_logits = _mean_logits(hidden, weight, bias)
        for start in range(0, len(hidden), step):
            rows = slice(start, min(start + step, len(hidden)))
            chunk = logits[: rows.stop - rows.start]
            torch.matmul(hidden[rows], weight.t(), out=chunk)
            if bias is not None:
                chunk += bias
            total += _loss_to_gradient(chunk, mean_logits[rows], targets[rows], smoothing)
            torch.matmul(chunk, weight, out=hidden_gradient[rows])
            part = chunk.t() @ hidden[rows]
            weight_gradient = part.float() if weight_gradient is None else weight_gradient.add_(part)
            if bias_gradient is not None:
                bias_gradient += chunk.sum(0, dtype=torch.float32)
        if smoothing:  # the same for every logit, so it need not be written into the chunks
            each = smoothing / vocabulary
            hidden_gradient -= each * weight.sum(0, dtype=torch.float32)
            weight_gradient -= each * hidden.sum(0, dtype=torch.float32)
            if bias_gradient is not None:
                bias_gradient -= each * len(hidden)
        ctx.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype),
                              None if bias_gradient is None else bias_gradient.to(weight.dtype))
        return total.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors
        scale = gradients[0].to(hidden.dtype)
        if scale == 1.0:
            return hidden, weight, bias, None, None
        return hidden * scale, weight * scale, None if bias is None else bias * scale, None, None


def _mean_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """float32 [N, 1]: the mean of each row's logits, which is its product with the mean row of the head."""
    mean = hidden.float() @ weight.mean(0, dtype=torch.float32)[:, None]
    return mean if bias is None else mean + bias.mean(dtype=torch.float32)


def _loss_to_gradient(logits: Tensor, mean_logit: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Turn logits [N, V] in place into d loss / d logits but for -smoothing / V; returns the summed loss.

    loss = -(1 - smoothing) log p(target) - smoothing * mean over V of log p (Szegedy et al. 2016, as in
    torch.nn.functional.cross_entropy); its gradient is p - smoothing / V - (1 - smoothing) at the target.
    """
    column = targets[:, None]
    target_logit = logits.gather(1, column).float()
    torch.softmax(logits, 1, out=logits)
    log_p = logits.gather(1, column).float().clamp_(min=1e-37).log_()
    losses = -(log_p + smoothing * (mean_logit - target_logit))
    at_target = (torch.arange(len(targets)), targets)
    logits.index_put_(at_target, logits.new_tensor(smoothing - 1.0), accumulate=True)
    return losses.sum(dtype=torch.float64)


def head_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
                       ) -> Tensor:
    """Summed, label-smoothed cross-entropy of softmax(hidden weight' + bias) against targets.

    hidden [N, D], weight [V, D], bias [V] or None, targets int64 [N] -> scalar, float32. The gradients are
    computed on the way, so ask only while training.
    """
    return _HeadCrossEntropy.apply(hidden, weight, bias, targets, smoothing)


def head_log_likelihood(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """float32 [N]: log p of each target; no gradient. For validation and scoring."""
    step = max(1, CHUNK_ELEMENTS // weight.shape[0])
    parts = []
    for rows, target in zip(hidden.split(step), targets.split(step), strict=True):
        logits = torch.nn.functional.linear(rows, weight, bias).float()
        parts.append(logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1))
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)
