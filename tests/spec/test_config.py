"""ModelConfig and the parameter table: what is refused, and counts against the paper."""

from __future__ import annotations

import pytest

from weft.errors import ConfigError
from weft.families import transformer
from weft.spec import config as c
from weft.spec.config import ModelConfig
from weft.spec.parameters import count


def changed(*path: str, value: object) -> dict:
    data = transformer.config(100, **transformer.SIZES["tiny"]).to_dict()
    part = data
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return data


@pytest.mark.parametrize("path,value,message", [
    (("widht",), 3, "unknown key in ModelConfig 'widht'. Did you mean 'width'?"),
    (("encoder", "norm", "epsilonn"), 1e-3, "unknown key in encoder.norm 'epsilonn'. Did you mean 'epsilon'?"),
    (("encoder", "norm", "type"), "layernorm", "unknown variant 'layernorm'. Did you mean 'layer_norm'?"),
    (("decoder", "placement"), "psot", "unknown value 'psot'. Did you mean 'post'?"),
    (("width",), "128", "width is '128', a str; expected int"),
    (("width",), 130, "width 130 is no multiple of encoder.attention.heads 4"),
    (("vocabulary",), 2, "special token id is not below the vocabulary of 2"),
    (("encoder",), {"type": "recurrent", "cell": "gru", "size": 8}, "must both be transformer or both be recurrent"),
])
def test_refuses(path: tuple[str, ...], value: object, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict(changed(*path, value=value))
    assert message in str(error.value)


def test_missing_key_is_named() -> None:
    data = transformer.config(100, **transformer.SIZES["tiny"]).to_dict()
    del data["width"]
    with pytest.raises(ConfigError, match="ModelConfig lacks width"):
        ModelConfig.from_dict(data)


def test_counts_of_the_papers_sizes() -> None:
    """Table 3 of Vaswani et al. 2017 says 65M and 213M.

    Its architecture at its stated 37,000 tokens has 63.1M and 214.2M: big is within 1%. The base row's embeddings
    follow from the other rows of the table, all of which leave it 20.9M (N=2: 36M, d=256: 28M, d=1024: 168M), which
    is a vocabulary of about 40,800; with that, base is within 1%.
    """
    assert count(transformer.config(37_000, **transformer.SIZES["big"])) == pytest.approx(213e6, rel=0.01)
    assert count(transformer.config(40_800, **transformer.SIZES["base"])) == pytest.approx(65e6, rel=0.01)
    assert count(transformer.config(37_000, **transformer.SIZES["base"])) == 63_082_496
    two_layers = dict(transformer.SIZES["base"], layers=2)
    assert count(transformer.config(40_800, **two_layers)) == pytest.approx(36e6, rel=0.02)


@pytest.mark.parametrize(("position", "message"), [
    (c.RelativeBias(2, 9), "buckets must be 4 or more"),
    (c.RelativeBias(16, 8), "max_distance must be above 0, and neither half nor a quarter of the buckets"),
    (c.RelativeBias(16, 0), "max_distance must be above 0"),
    (c.Rotary(dimension=2, scaling=c.DynamicScaling(2.0, 8)), "dynamic scaling needs 4 channels or more that turn, not 2"),
    (c.Rotary(1.0), "position.base is 1.0; it must be above 1"),
    (c.Rotary(scaling=c.Llama3Scaling(8.0, 4.0, 4.0, 8)), "high_frequency_factor must be above low_frequency_factor"),
    (c.Sinusoidal(inclusive=True, dimension=2), "dimension must be 4 or more where the slowest channel is included"),
])
def test_positions_that_would_divide_by_zero(position: c.Position, message: str) -> None:
    stack = c.TransformerStack(1, c.Attention(2), c.FeedForward(8), position=position)
    with pytest.raises(ConfigError, match=message):
        c.ModelConfig(10, 16, decoder=stack, embedding=c.Embedding("target"))
