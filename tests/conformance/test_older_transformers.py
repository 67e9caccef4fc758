"""What is exported says rotary positions in the words of transformers 4 too; transformers 5 reads both, so it is the judge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.conformance import checkpoints as hf
from weft.convert import foreign_config, read_config
from weft.errors import ConfigError
from weft.families.family import families
from weft.spec import config as c

NEWER = {("modernbert", "bases"), ("phi3", "long_partial_window")}
"""Scaling in ModernBERT, and a factor of one's own in LongRoPE: transformers 4 has no words for them."""
ROTARY = [pytest.param(name, example, id=f"{name}-{example}") for name, family in families() for example in family.EXAMPLES
          if any(part in json.dumps(family.EXAMPLES[example]) for part in ("rope", "rotary")) and (name, example) not in NEWER]


def written(folder: Path, name: str, example: str) -> dict[str, Any]:
    """config.json as it is exported."""
    family = dict(families())[name]
    keywords = dict(family.EXAMPLES[example])
    config = transformers.AutoConfig.for_model(family.MODEL_TYPES[0], **{**hf.SPECIAL, **keywords})
    config.save_pretrained(folder)
    return foreign_config(family, read_config(folder)[2])


@pytest.mark.parametrize(("name", "example"), ROTARY)
def test_both_ways_say_the_same(tmp_path: Path, name: str, example: str) -> None:
    values = written(tmp_path, name, example)
    if "rope_parameters" not in values:  # GPT-J, and Falcon with ALiBi
        return
    ours, theirs = read(tmp_path, values)
    for key in ("rope_parameters", "rope_scaling"):
        without = read(tmp_path, {other: value for other, value in values.items() if other != key})
        assert without[0] == ours and plain(without[1]) == plain(theirs), key


def read(folder: Path, values: dict[str, Any]) -> tuple[c.ModelConfig, dict[str, Any]]:
    """Weft's config, and the rotary positions of transformers'."""
    (folder / "config.json").write_text(json.dumps(values))
    return read_config(folder)[2], transformers.AutoConfig.from_pretrained(folder).rope_parameters


def test_rope_scaling_goes_before_rope_parameters(tmp_path: Path) -> None:
    """As where a user adds it, by a model's card, to a config.json that transformers 5 wrote."""
    values = written(tmp_path, "qwen2", "plain")
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}
    ours, theirs = read(tmp_path, values | {"rope_scaling": yarn})
    assert isinstance(ours.decoder, c.TransformerStack) and isinstance(ours.decoder.position, c.Rotary)
    assert ours.decoder.position.scaling == c.YarnScaling(4.0, 10, pytest.approx(0.1 * math.log(4) + 1))
    assert theirs["rope_type"] == "yarn" and theirs["rope_theta"] == ours.decoder.position.base
    values["rope_parameters"]["rope_theta"] = 1e6
    (tmp_path / "config.json").write_text(json.dumps(values | {"rope_scaling": yarn}))
    with pytest.raises(ConfigError, match=r"rope_theta = 1000000.0 in the latter alone; with rope_scaling it counts as 1"):
        read_config(tmp_path)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what says the same twice, or nothing."""
    kept = {key: plain(value) if isinstance(value, dict) else value for key, value in values.items() if key != "type"}
    if kept.get("partial_rotary_factor") == 1.0:
        del kept["partial_rotary_factor"]
    if kept.get("rope_type") == "longrope":
        kept.pop("attention_factor", None)
    return kept


def test_long_positions_in_three_keys(tmp_path: Path) -> None:
    """More are an error in transformers 4."""
    assert set(written(tmp_path, "phi3", "long")["rope_scaling"]) == {"type", "short_factor", "long_factor"}
    own = written(tmp_path, "phi3", "long_partial_window")
    assert "rope_scaling" not in own and own["rope_parameters"]["attention_factor"] == 1.3
    assert isinstance(read_config(tmp_path)[2].decoder.position.scaling, c.LongRopeScaling)  # type: ignore[union-attr]
