"""The models that come with Weft: the README's example, and that they open, translate and say where they come from."""

from __future__ import annotations

import pytest

import weft
from weft.bundle import shipped_models

LIMIT = 25 << 20


@pytest.mark.parametrize("name", ["fr-en", "en-fr"])
def test_opens_and_carries_its_card(name: str) -> None:
    folder = shipped_models()[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < LIMIT
    card = weft.load(name).bundle.card
    for part in ("CC-BY 2.0 FR", "tatoeba.test, sacreBLEU", "flores-dev, chrF2", "## Limits of use", "learning_rate"):
        assert part in card


@pytest.mark.parametrize("source,expected", [
    ("J'aime l'apprentissage automatique", "I love machine learning"),
    ("J'aime l'apprentissage automatique.", "I love machine learning."),
    ("J’aime l’apprentissage automatique", "I love machine learning"),
    ("Le chat dort.", "The cat is sleeping."),
    ("Le chat dort", "The cat is sleeping"),
])
def test_the_first_example(source: str, expected: str) -> None:
    assert weft.load("fr-en").translate(source) == expected


def test_accents_case_and_punctuation() -> None:
    model = weft.load("en-fr")
    assert model.translate("I love machine learning.").endswith("l'apprentissage automatique.")
    assert model.translate("Where is the station?").replace("\u202f", " ").replace("\xa0", " ") == "Où est la gare ?"


def test_neighbours_and_beams_change_nothing() -> None:
    model = weft.load("fr-en")
    texts = ["Bonjour.", "Je ne sais pas ce qu'il a fait hier soir.", "Où est la gare ?", "Elle lit.", "Merci beaucoup !"]
    for beams in (1, 4):
        together = model.translate(texts, beams=beams)
        assert together == [model.translate(text, beams=beams) for text in texts]
        assert together[::-1] == model.translate(texts[::-1], beams=beams)


@pytest.mark.parametrize(("name", "parts"), [
    ("sentiment", ("rt_polarity.test, accuracy", "CC-BY 4.0")),
    ("ner", ("entity F1", "seqeval", "WikiGold", "CC-BY 4.0")),
    ("shakespeare", ("bits per character", "public domain")),
])
def test_small_models_carry_their_cards(name: str, parts: tuple[str, ...]) -> None:
    folder = shipped_models()[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12 << 20
    card = weft.load(name).bundle.card
    assert all(part in card for part in (*parts, "## Limits of use", "learning_rate"))


def test_sentiment_and_names() -> None:
    gripping, dull = weft.load("sentiment").classify(["a gripping, funny film", "a dull, tedious mess"])
    assert (gripping.label, dull.label) == ("positive", "negative")
    found = weft.load("ner").tag("Angela Merkel visited Sofia.")
    assert [(one.label, one.text, one.start, one.end) for one in found] == [
        ("PER", "Angela Merkel", 0, 13), ("LOC", "Sofia", 22, 27)]


def test_shakespeare_goes_on() -> None:
    model = weft.load("shakespeare")
    result = model.complete("ROMEO:", max_new_tokens=40)
    assert result.prompt == "ROMEO:" and result.text.strip()
    drawn = [model.complete("ROMEO:", max_new_tokens=20, sample=True, seed=seed).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
