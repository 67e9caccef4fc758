"""Position encodings against their formulas and Hugging Face."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from weft.nn import position
from weft.spec import config as c
from weft.spec import positions


@pytest.mark.parametrize("width,dimension,base", [(8, None, 10000.0), (10, 6, 100.0)])
def test_sinusoidal_is_the_papers_formula(width: int, dimension: int | None, base: float) -> None:
    table = positions.sinusoidal(c.Sinusoidal(base, dimension), width, 50)
    d = dimension or width
    for pos in (0, 1, 49):
        for i in range(d // 2):
            angle = pos / base ** (2 * i / d)
            assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert not table[:, d:].any()


def test_relative_buckets_equal_t5() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-200, 201)
    for causal in (True, False):
        theirs = T5Attention._relative_position_bucket(distance, not causal, 32, 128)
        assert torch.equal(position.relative_bucket(distance, c.RelativeBias(32, 128), causal), theirs)


@pytest.mark.parametrize("causal", [True, False])
def test_relative_buckets_of_any_size_equal_t5(causal: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    for buckets in range(4, 70):
        for most in (2, 3, 7, 16, 20, 33, 64, 100, 128, 256):
            if most > (buckets // 2 if causal else buckets // 4):  # else they would fall with distance
                theirs = T5Attention._relative_position_bucket(distance, not causal, buckets, most)
                assert torch.equal(position.relative_bucket(distance, c.RelativeBias(buckets, most), causal), theirs)


@pytest.mark.parametrize("heads", [1, 2, 4, 6, 8, 12])
def test_alibi_slopes_equal_bloom(heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 3), heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(torch.from_numpy(positions.alibi_slopes(heads)), theirs)


SCALED: dict[str, tuple[dict[str, Any], c.RotaryScaling | None]] = {
    "linear": ({"factor": 4.0}, c.LinearScaling(4.0)),
    "llama3": ({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
               c.Llama3Scaling(8.0, 1.0, 4.0, 8192)),
    "yarn": ({"factor": 4.0, "original_max_position_embeddings": 32768}, c.YarnScaling(4.0, 32768, 1.0)),
    "dynamic": ({"factor": 2.0}, c.DynamicScaling(2.0, 131072)),
    "longrope": ({"short_factor": [1.0 + i / 9 for i in range(64)], "long_factor": [2.0 + i for i in range(64)],
                  "original_max_position_embeddings": 4096},
                 c.LongRopeScaling(tuple(1.0 + i / 9 for i in range(64)), tuple(2.0 + i for i in range(64)), 4096)),
}


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("base", [10000.0, 500000.0, 1e6])
@pytest.mark.parametrize("length", [1, 4096, 4097, 200_000])
def test_frequencies_equal_transformers_to_the_last_bit(kind: str, base: float, length: int) -> None:
    values, scaling = SCALED[kind]
    theirs = transformers.LlamaConfig(hidden_size=4096, num_attention_heads=32, max_position_embeddings=131072,
                                      rope_parameters={"rope_type": kind, "rope_theta": base, **values})
    frequency, _ = ROPE_INIT_FUNCTIONS[kind](theirs, seq_len=torch.tensor(length))
    for at in (1, length - 1):
        cos, sin = position.rotary_angles(c.Rotary(base, scaling=scaling), 128, torch.tensor([at]), torch.tensor([length]))
        assert torch.equal(cos.flatten(), (at * frequency).cos()) and torch.equal(sin.flatten(), (at * frequency).sin())


def test_rotation_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)
    def score(at_q: int, at_k: int) -> float:
        turned = [position.rotate(x, *position.rotary_angles(c.Rotary(), 8, torch.tensor([at])))
                  for x, at in ((q, at_q), (k, at_k))]
        return float((turned[0] * turned[1]).sum())
    assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-4)
