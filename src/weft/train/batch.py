"""A training batch as tensors: sources and targets padded on the right, targets shifted right for the decoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.nn.cache import padded
from weft.spec.config import SpecialTokens
from weft.tasks import Encoded


@dataclass
class Batch:
    """source int64 [B, S], source_lengths [B]; inputs [B, T] (start token, then all but the last target);
    lengths [B] of them; targets [N], the valid target tokens of all rows, N = tokens."""

    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    lengths: Tensor
    targets: Tensor

    @property
    def tokens(self) -> int:
        return len(self.targets)

    @property
    def for_model(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What Model.forward_packed takes."""
        return self.source, self.source_lengths, self.inputs, self.lengths


def make_batch(examples: Encoded, rows: list[int], special: SpecialTokens) -> Batch:
    source, source_lengths = padded([examples.sources[i] for i in rows], special.pad)
    targets = [examples.targets[i] for i in rows]
    inputs, lengths = padded([np.concatenate(([special.start], target)) for target in targets], special.pad)
    flat = np.concatenate([part for target in targets for part in (target, [special.eos])])
    return Batch(source, source_lengths, inputs, lengths, torch.from_numpy(flat.astype(np.int64)))
