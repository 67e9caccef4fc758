"""A config in both backends with the same random weights, and what they are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from weft.backends.native import NativeRunner, build_runner
from weft.backends.torch import TorchRunner
from weft.nn.model import Model as Network
from weft.spec import config as c
from weft.spec.parameters import parameters
from weft.spec.trace import Trace
from weft.tensors import Stored

LENGTHS = (7, 1, 12, 4)
"""Ragged, with a text of one token."""


def weights(config: c.ModelConfig, seed: int = 0) -> dict[str, Stored]:
    """Random parameters: matrices that make outputs differ, norms near one."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, row in parameters(config).items():
        if row.tie is None:
            noise = (0.3 if len(row.shape) > 1 else 0.2) * rng.standard_normal(row.shape)
            found[name] = Stored((noise + (row.init == "ones")).astype(np.float32), "F32")
    return found


def native(config: c.ModelConfig, precision: str = "fp32", threads: int = 1, seed: int = 0) -> NativeRunner:
    return build_runner(config, weights(config, seed), precision, threads)


def reference(config: c.ModelConfig, seed: int = 0) -> TorchRunner:
    stored = weights(config, seed)
    return TorchRunner(Network.of(config, lambda name: torch.from_numpy(stored[name].bits)))


def rows(lengths: Sequence[int] = LENGTHS, seed: int = 0, vocabulary: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, vocabulary, length).tolist() for length in lengths]


def close(ours: Any, theirs: Any, tolerance: float = 3e-5) -> None:
    """Equal to `tolerance` of the largest value, which is what float32 sums in another order leave."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1.0, float(np.abs(theirs).max(initial=0))))


def same_trace(ours: Trace, theirs: Trace, sources: Sequence[int], targets: Sequence[int]) -> None:
    """Arrays [B, T, D] and [B, H, T, S] of whole texts, up to each row's lengths: of its source and of its target."""
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        assert ours[name].shape == theirs[name].shape, name
        queries = sources if name.startswith("encoder") else targets
        keys = queries if "self_attention" in name else sources
        for row, want, query, key in zip(ours[name], theirs[name], queries, keys, strict=True):
            part = (slice(None), slice(query), slice(key)) if name.endswith("weights") else (slice(query),)
            close(row[part], want[part])
