"""A training batch as tensors, padded on the right; targets shifted right for a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.nn.cache import padded
from weft.spec.config import ClassificationHead, ModelConfig
from weft.tasks import IGNORED, Encoded


@dataclass
class Batch:
    """source int64 [B, S] and source_lengths [B], None for a decoder-only model; inputs int64 [B, T] of the decoder and
    lengths [B] of them, None for an encoder-only model; targets int64 [N].

    places: int64 [N], which of the valid positions, row after row, have a target; None if all do (or texts, where the
    head classifies).
    """

    source: Tensor | None
    source_lengths: Tensor | None
    inputs: Tensor | None
    lengths: Tensor | None
    targets: Tensor
    places: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Targets, which the loss is averaged over."""
        return len(self.targets)

    @property
    def positions(self) -> int:
        """Valid positions that the stack with the head goes through."""
        lengths = self.source_lengths if self.lengths is None else self.lengths
        return 0 if lengths is None else int(lengths.sum())

    @property
    def for_model(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """What Model.features takes."""
        return self.source, self.source_lengths, self.inputs, self.lengths, self.places


def make_batch(examples: Encoded, rows: list[int], config: ModelConfig) -> Batch:
    """Rows of encoded examples for a model of that kind."""
    special = config.special
    targets = [examples.targets[i] for i in rows]
    if config.kind == "decoder-only":
        inputs, lengths = padded([target[:-1] for target in targets], special.pad)
        return Batch(None, None, inputs, lengths, _flat([target[1:] for target in targets]))
    source, source_lengths = padded([examples.sources[i] for i in rows], special.pad)
    if config.kind == "encoder-only":
        flat = _flat(targets)
        if isinstance(config.head, ClassificationHead):
            return Batch(source, source_lengths, None, None, flat)
        places = (flat != IGNORED).nonzero()[:, 0]
        return Batch(source, source_lengths, None, None, flat[places], places)
    inputs, lengths = padded([np.concatenate(([special.start], target)) for target in targets], special.pad)
    return Batch(source, source_lengths, inputs, lengths,
                 _flat([part for target in targets for part in (target, [special.eos])]))


def _flat(rows: list) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))
