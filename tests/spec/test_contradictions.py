"""Options that contradict each other or would do nothing are refused with the two and the way out; defaults give way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import weft
from tests import bundles
from weft.decode.defaults import override
from weft.decode.strategies import name_of
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.presets import PRESETS, preset

REFUSED = [
    ({"early_stopping": "first"}, "early_stopping=first does nothing without beams; ask for 2 or more (--beams 4) or drop "
                                  "early_stopping"),
    ({"beam_scores": "raw", "sample": True}, "beam_scores=raw does nothing without beams"),
    ({"temperature": 0, "beams": 4}, "temperature=0 and beams=4 contradict each other: temperature 0 is greedy search"),
    ({"temperature": 0, "penalty_alpha": 0.6, "top_k": 4}, "temperature=0 and penalty_alpha=0.6 contradict each other"),
    ({"top_p": 0.9}, "top_p=0.9 does nothing without sampling; add sample=True (--sample) or drop top_p"),
    ({"lookup": 3, "penalty_alpha": 0.6, "top_k": 4}, "lookup=3 and penalty_alpha=0.6 contradict each other"),
]


@pytest.mark.parametrize("options,message", REFUSED, ids=str)
def test_two_and_the_way_out(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions(**options)
    assert message in str(error.value)


def test_a_seed_without_a_draw_and_neutral_values_are_no_contradiction() -> None:
    """A caller who gives a seed wants the same result again, which greedy search gives with any."""
    assert GenerationOptions(seed=7, early_stopping="exact", beam_scores="renormalised", top_p=1.0, temperature=0).seed == 7
    assert not GenerationOptions(sample=True, temperature=0, top_p=0.9, top_k=5).draws


@pytest.mark.parametrize("defaults,asked,name,left", [
    ({"beams": 4, "early_stopping": "first", "beam_scores": "raw", "n_best": 2}, {"beams": 1}, "greedy", {}),
    ({"beams": 4, "early_stopping": "first"}, {"sample": True}, "sampling", {"sample": True}),
    ({"beams": 4, "early_stopping": "first"}, {"temperature": 0.0}, "greedy", {"temperature": 0.0}),
    ({"beams": 4}, {"temperature": 0.0, "beams": 4}, "", {}),
    ({"sample": True, "top_k": 40, "top_p": 0.9}, {"beams": 2}, "beam", {"beams": 2}),
    ({"sample": True, "top_k": 40}, {"temperature": 0.0}, "greedy", {"sample": True, "top_k": 40, "temperature": 0.0}),
    ({"penalty_alpha": 0.6, "top_k": 4}, {}, "contrastive", {"penalty_alpha": 0.6, "top_k": 4}),
    ({"penalty_alpha": 0.6, "top_k": 4}, {"sample": True}, "sampling", {"sample": True}),
    ({"penalty_alpha": 0.6, "top_k": 4}, {"beams": 3}, "beam", {"beams": 3}),
    ({"penalty_alpha": 0.6, "top_k": 4}, {"lookup": 3}, "greedy", {"lookup": 3}),
    ({"sample": True, "top_k": 40}, {"lookup": 3}, "sampling", {"sample": True, "top_k": 40, "lookup": 3}),
    ({"sample": True, "top_k": 40}, {"penalty_alpha": 0.6}, "", {}),
])
def test_defaults_give_way(defaults: dict[str, Any], asked: dict[str, Any], name: str, left: dict[str, Any]) -> None:
    base = GenerationOptions(**defaults)
    if not name:
        with pytest.raises(UsageError):
            override(base, asked)
        return
    found = override(base, asked)
    assert found == GenerationOptions(**left) and name_of(found) == name


@pytest.mark.parametrize("tool", PRESETS)
def test_presets_go_with_every_search(tool: str) -> None:
    for asked in ({}, {"beams": 3}, {"sample": True}, {"penalty_alpha": 0.5, "top_k": 3}, {"lookup": 3}):
        found = override(GenerationOptions(), asked, preset(tool))
        wanted = preset(tool).get("early_stopping", "exact") if "beams" in asked else "exact"
        assert found.early_stopping == wanted and found.order == preset(tool)["order"]
    assert override(GenerationOptions(), {"beams": 3, "early_stopping": "exact"}, preset("hf")).early_stopping == "exact"
    with pytest.raises(UsageError, match="early_stopping=first does nothing"):
        override(GenerationOptions(), {"early_stopping": "first"}, preset(tool))


def test_temperature_0_is_greedy_whatever_a_model_does_by_default() -> None:
    model = weft.load("fr-en")
    text = "Le chat dort sur la table."
    assert model.defaults.beams == 4
    assert model.generate([text], temperature=0) == model.generate([text], beams=1)


def test_tokens_of_a_draft_need_one(tmp_path: Path) -> None:
    model = weft.load(bundles.bundle(tmp_path / "m", "gpt2"))
    for call in (lambda **more: model.generate([[5]], **more), lambda **more: list(model.stream([5], **more)),
                 lambda **more: model.trace([5], **more)):
        with pytest.raises(UsageError, match="draft_tokens=7 does nothing without a draft; give a model that guesses"):
            call(draft_tokens=7)
        call(draft_tokens=7, draft=model, max_new_tokens=2)
        call(draft_tokens=4, max_new_tokens=2)
