"""Every way of decoding works with every family that generates, alone as in company, and can be traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import weft
from tests import bundles
from weft.errors import UsageError

GENERATING = [name for name in bundles.FAMILIES if name not in ("bert", "distilbert", "electra", "modernbert", "roberta")]
RULES = {"repetition_penalty": 1.2, "encoder_repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.2,
         "no_repeat_ngram": 2, "encoder_no_repeat_ngram": 2, "logit_bias": {7: 2.0}, "banned_words": [[8, 9]], "prefix": [12],
         "suffix": [10, 11], "min_new_tokens": 3}
WAYS: list[dict[str, Any]] = [
    {}, RULES, {"sample": True, "seed": 3, "temperature": 0.7, "top_p": 0.9}, {"beams": 3, "n_best": 2},
    {"beams": 3, "beam_scores": "raw", **RULES}, {"beams": 4, "beam_groups": 2, "diversity": 0.5},
    {"beams": 3, "forced_words": [[7, 8]]}, {"penalty_alpha": 0.6, "top_k": 3}, {"lookup": 3}, {"draft": True},
    {"draft": True, "sample": True}]
INPUTS = [[7, 8, 9, 7, 8, 9, 7], [5]]


@pytest.mark.parametrize("name", GENERATING)
def test_every_way_with_every_family(tmp_path: Path, name: str) -> None:
    model = weft.load(bundles.bundle(tmp_path / name, name))
    for way in WAYS:
        options = way | {"max_new_tokens": 6} | ({"draft": model} if "draft" in way else {})
        both = model.generate(INPUTS, **options)
        assert model.generate(INPUTS[:1], **options)[0].tokens == both[0].tokens, way
        traced = model.trace(INPUTS[0], **options).requests[0].results[0].tokens
        assert traced[: len(both[0].tokens)] == both[0].tokens and len(traced) == len(both[0].logprobs), way
    covered = {"beams": 2, "coverage_penalty": 0.5, "max_new_tokens": 4}
    if model.config.encoder is not None:
        assert model.score(INPUTS, [[8]] * 2, **covered)[0].score <= model.score(INPUTS, [[8]] * 2, beams=2)[0].score
        assert len(model.generate(INPUTS, **covered)) == 2
    else:
        with pytest.raises(UsageError, match="no attention to a source"):
            model.generate(INPUTS, **covered)
