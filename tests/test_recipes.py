"""Every recipe is a valid set of options; the paper's recipes are the paper's; the corpus rules do what they say."""

from __future__ import annotations

import importlib.util
import random
import re
import shlex
from pathlib import Path

import pytest

from weft.cli import run
from weft.cli.train import read_options
from weft.spec.parameters import count
from weft.tasks import find_task
from weft.train import plan

FOLDER = Path(__file__).parents[1] / "recipes"
_spec = importlib.util.spec_from_file_location("prepare_fr_en", FOLDER / "prepare_fr_en.py")
prepare = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(prepare)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_recipe_is_valid(path: Path) -> None:
    options = plan.resolve(read_options({"data": (str(path),)}), 100_000, 5_000_000)
    assert count(plan.model_config(options, options.vocabulary or 1000)) > 0
    assert options.data and (options.validation or find_task(options.task).windows)


COMMANDS = [pytest.param(match[1], id=f"{path.stem}-{number}") for path in sorted(FOLDER.glob("*.toml"))
            for number, line in enumerate(path.read_text().splitlines())
            if (match := re.match(r"#\s+((weft|python) .*)", line))]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_their_heads_are_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    """They come as far as the files that are not here; a flag that there is not would end them with a usage."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(FOLDER)
    program, *rest = shlex.split(command)
    if program == "python":
        assert Path(rest[0]).is_file()
        return
    assert run(rest) == 2
    assert re.match(r"weft: error: no (file|folder) \S+; the current folder is ", capsys.readouterr().err)


def test_a_length_flag_replaces_the_recipes() -> None:
    path = (str(FOLDER / "multi30k.en-fr.toml"),)
    assert read_options({"data": path}).steps == 8500
    options = read_options({"data": path, "minutes": 30.0})
    assert (options.minutes, options.steps) == (30.0, None)


def test_the_papers_recipe() -> None:
    """Vaswani et al. 2017, sections 5.3 and 5.4, and table 3."""
    base = read_options({"data": (str(FOLDER / "wmt14.en-de.base.toml"),)})
    assert (base.beta1, base.beta2, base.epsilon, base.warmup, base.steps) == (0.9, 0.98, 1e-9, 4000, 100_000)
    assert (base.dropout, base.label_smoothing, base.schedule) == (0.1, 0.1, "inverse_sqrt")
    assert base.learning_rate == pytest.approx(512**-0.5 * 4000**-0.5, rel=0.01)
    big = read_options({"data": (str(FOLDER / "wmt14.en-de.big.toml"),)})
    assert (big.dropout, big.steps, big.average) == (0.3, 300_000, 20)
    assert big.learning_rate == pytest.approx(1024**-0.5 * 4000**-0.5, rel=0.01)


@pytest.mark.parametrize("raw,kept", [
    ("The *lambda* is **small**.", "The lambda is small."),
    (" Plain\u200b text. ", "Plain text."),
])
def test_emphasis_goes(raw: str, kept: str) -> None:
    assert prepare.clean(raw) == kept and not prepare.has_markup(kept)


@pytest.mark.parametrize("text", ["See :ref:`x`.", "Use ``len``.", "a <b>c</b>", "x = 3", "f() is called", "[Name, Symbol]",
                                  "As follows::", "https://a.b", "|version|", "w∈R"])
def test_markup_is_seen(text: str) -> None:
    assert prepare.has_markup(prepare.clean(text))


def test_the_example_sentence_cannot_get_in() -> None:
    for pair in (("I love machine learning.", "x"), ("x", "J’aime l’apprentissage automatique !"),
                 ("Yes, I LOVE machine learning", "Oui")):
        assert prepare.holds_example(pair)
    assert not prepare.holds_example(("I love deep learning.", "J'aime l'apprentissage profond."))
    kept = list(prepare.filtered(prepare.term_sentences(), set(), set(), prepare.Counter()))
    assert len(kept) > 900 and not any(prepare.holds_example(pair) for pair in kept)


def test_rules_and_contractions() -> None:
    counts = prepare.Counter()
    pairs = [("A b.", "C d."), ("A b.", "C d."), ("Tested one.", "Une phrase du test."), ("same", "Same!"),
             ("a " * 50, "b " * 50)]
    assert list(prepare.filtered(pairs, set(), {prepare.key("Tested one")}, counts)) == [("A b.", "C d.")]
    assert counts == {"kept": 1, "seen before": 1, "in a test set": 1, "untranslated": 1, "longer than 40 words": 1}
    french = [pair[1] for pair in prepare.term_sentences()]
    assert "Ce livre parle des réseaux de neurones." in french and "Je m'intéresse aux statistiques." in french
    assert list(prepare.sentences(("One. Two.", "Un. Deux."))) == [("One.", "Un."), ("Two.", "Deux.")]
    assert prepare.without_stop(("A.", "B.")) == ("A", "B")
    typed = {prepare.as_typed("Ça va\u202f? L'été.", random.Random(seed)) for seed in range(60)}
    assert any("’" in text for text in typed) and any("\u202f" in text for text in typed)
    assert any("va ?" in text for text in typed)
