"""A training batch as tensors: sources and targets padded on the right, targets shifted right for the decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weft.nn.cache import padded
from weft.spec.config import SpecialTokens
from weft.tasks import Encoded


@dataclass
class Batch:
    """source int64 [B, S], source_lengths [B]; inputs [B, T] (start token, then all but the last target);
    targets [N], the valid target tokens of all rows, N = tokens; valid: their index in [B * T], None if all are."""

    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    targets: Tensor
    valid: Tensor | None

    @property
    def tokens(self) -> int:
        return len(self.targets)

    def flatten(self, hidden: Tensor) -> Tensor:
        """hidden [B, T, D] -> those of valid targets, [N, D]."""
        rows = hidden.flatten(0, 1)
        return rows if self.valid is None else rows.index_select(0, self.valid)


def make_batch(examples: Encoded, rows: list[int], special: SpecialTokens) -> Batch:
    source, source_lengths = padded([examples.sources[i] for i in rows], special.pad)
    inputs, lengths = padded([[special.start, *examples.targets[i]] for i in rows], special.pad)
    outputs, _ = padded([[*examples.targets[i], special.eos] for i in rows], special.pad)
    valid = (torch.arange(inputs.shape[1]) < lengths[:, None]).flatten().nonzero()[:, 0]
    everything = len(valid) == inputs.numel()
    return Batch(source, source_lengths, inputs, outputs.flatten()[valid], None if everything else valid)
