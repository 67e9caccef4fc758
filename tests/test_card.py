"""The card says what a reader of a model needs, and its recipe can be used again."""

from __future__ import annotations

import tomllib

from weft.card import bundle_card
from weft.families import transformer
from weft.spec.parameters import count
from weft.spec.tagged import from_dict
from weft.spec.training import TrainingOptions

OPTIONS = TrainingOptions(data=("corpus/pairs \"a\".tsv",), validation=("corpus/dev.tsv",), data_root="/somewhere",
                          out="runs/x", minutes=20, width=16, tensorboard=True, data_licence="CC-BY 2.0 FR, Tatoeba")
CONFIG = transformer.config(100, layers=1, width=16, heads=2, feed_forward=32)
CARD = bundle_card(CONFIG, OPTIONS, {"BLEU nrefs:1|tok:13a": 41.2}, name="mine", seconds=1234, step=5678)


def test_says_what_it_must() -> None:
    for part in ("# mine\n", f"{count(CONFIG):,} parameters", "vocabulary 100", "in 21 minutes", "update 5,678",
                 "CC-BY 2.0 FR, Tatoeba", "| BLEU nrefs:1&#124;tok:13a | 41.2 |", "## Limits of use"):
        assert part in CARD
    without = bundle_card(CONFIG, TrainingOptions(), {}, name="n", seconds=0, step=0)
    assert "not recorded (weft train --data-licence)" in without


def test_the_recipe_is_read_back() -> None:
    recipe = tomllib.loads(CARD.split("```toml\n")[1].split("```")[0])
    options = from_dict(TrainingOptions, recipe)
    assert options.data == ('pairs "a".tsv',) and (options.minutes, options.width) == (20, 16)
    assert not {"out", "data_root", "data_licence", "tensorboard"} & recipe.keys(), "nothing of one machine"
