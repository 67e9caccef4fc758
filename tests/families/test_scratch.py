"""Families to train from nothing can be exported in the format whose name they bear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weft.convert import foreign_config
from weft.families import scratch
from weft.families.family import families
from weft.spec import config as c
from weft.train.plan import with_head


@pytest.mark.parametrize("name", ["llama", "gpt2", "modernbert"])
@pytest.mark.parametrize("head", [None, c.ClassificationHead(("a", "b"), "mean"), c.TagHead(("O", "B-PER", "I-PER"))],
                         ids=["language-model", "classification", "tag"])
def test_trained_models_can_be_exported(name: str, head: c.Head | None) -> None:
    kind, build = scratch.BUILDERS[name]
    if kind == "decoder-only" and head is not None:
        pytest.skip("completers have one head")
    for size in scratch.SIZES[kind].values():
        config = with_head(build(1000, **size), head)
        config = replace(config, special=replace(config.special, prefix=(2,), suffix=(3,)))
        assert foreign_config(dict(families())[name], config)["model_type"] == name
