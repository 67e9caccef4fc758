"""weft explain and --explain-settings, as a user sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.spec.decoding_trace import DecodingTrace


def test_a_translation_with_beams(weft, tmp_path: Path) -> None:
    saved = tmp_path / "cat.trace"
    status, out, err = weft("explain", "Le chat dort.", "--beam", 2, "--save", saved)
    assert status == 0 and err == "" and "\x1b" not in out
    for part in ("fr-en: encoder-decoder, beam search", "beams 2", "tokens (5)", "embedding + position: length, first numbers",
                 "encoder layers", "step 1", "removed (probability that they had): bans 3 tokens", "looked at ▁chat",
                 "kept as 1", "pruned", "finished, score", "'The cat is sleeping.'", "ended by itself"):
        assert part in out, part
    assert "    0     675  ▁Le" in out and "█" in out
    told = weft("explain", "--from", saved)
    assert told == (0, out, "")
    some = weft("explain", "--from", saved, "--steps", "2-3")[1]
    assert [step for step in range(1, 7) if f"\nstep {step}\n" in some] == [2, 3]
    assert DecodingTrace.load(saved).options == {"beams": 2, "banned": (0, 1, 2)}


def test_greedy_and_limits_of_what_is_kept(weft) -> None:
    out = weft("explain", "Bonjour.", "--beams", 1, "--layers", 0, "--heads", 1, "--candidates", 2)[1]
    assert "greedy search" in out and "continuations" not in out and "chosen: " in out
    assert "and it is over (score" in out
    no_steps = weft("explain", "Bonjour.", "--max-new-tokens", 0)
    assert no_steps[0] == 0 and "step 1" not in no_steps[1] and "at most 0 new tokens" in no_steps[1]


def test_a_completion_with_sampling(weft) -> None:
    out = weft("explain", "ROMEO:", "--model", "shakespeare", "--sample", "--top-p", 0.5, "--top-k", 9, "--seed", 5,
               "--max-new-tokens", 4)[1]
    for part in ("decoder-only, sampling", "decoder layers, over the prompt but its last token", "removed by top_p", "drew 0.",
                 "top_k 1,", "looked at", "cut at the limit of new tokens", "  \\n"):
        assert part in out, part


def test_every_draw_is_told(weft) -> None:
    out = weft("explain", "Bonjour.", "--sample", "--n", 3, "--seed", 1, "--steps", 1)[1]
    drawn = weft("translate", "Bonjour.", "--sample", "--n", 3, "--seed", 1)[1]
    assert [f"\n{draw} of 3\n" in f"\n{out}" for draw in (1, 2, 3)] == [True] * 3 and out.count("\nresult\n") == 3
    assert all(repr(line.partition("\t")[2]) in out for line in drawn.splitlines())


def test_contrastive_search(weft) -> None:
    out = weft("explain", "Le chat dort.", "--penalty-alpha", 0.6, "--top-k", 3)[1]
    for part in ("contrastive search", "candidates: 0.4 x probability, less 0.6 x likeness to what is there", " - 0.6 x ",
                 "removed (probability that they had): bans 3 tokens", "and it is over (score"):
        assert part in out, part
    rows = [line.split() for line in out.splitlines() if " - 0.6 x " in line]
    assert all(float(row[-2]) == pytest.approx(float(row[-8]) - 0.6 * float(row[-4]), abs=2e-4)
               for row in rows if "over" not in row)


def test_guesses(weft, tmp_path: Path) -> None:
    text = "Le chat dort, le chat dort, le chat dort, le chat."
    out = weft("explain", text, "--lookup", 4, "--save", tmp_path / "one")[1]
    for part in ("greedy search", "lookup 4", "guessed ahead and read together:", "came true",
                 "did not, and what was read from it on is taken back", "guessed ahead: "):
        assert part in out, part
    assert weft("explain", "--from", tmp_path / "one")[1] == out
    out = weft("explain", "Oui.", "--draft", "fr-en", "--sample", "--seed", 3)[1]
    for part in ("draft fr-en", "sampling", "drew 0.", "below 1.0000, what the model gives of the draft's", "guess is kept"):
        assert part in out, part
    assert "need a text" in weft("explain", "--from", tmp_path / "one", "--draft", "fr-en")[2]


@pytest.mark.parametrize("arguments,message", [
    (["a", "--model", "sentiment"], "explain is for models that generate text, token by token; sentiment is encoder-only with "
                                    "a classification head"),
    ([], "give either a text to explain or --from"),
    (["a", "--from", "b"], "give either a text to explain or --from"),
    (["--from", "nothing.trace"], "nothing.trace cannot be read as a decoding trace"),
    (["--from", "b", "--beams", "2"], "--from tells of what was decoded before"),
    (["a", "--steps", "0"], "--steps is '0'; give a number from 1"),
    (["a", "--steps", "3-2"], "--steps is '3-2'"),
    (["a", "--layers", "9"], "layers holds 9; this model's layers run from 0 to 2"),
    (["a", "--candidates", "0"], "--candidates is 0; show 1 or more"),
    ([" "], "input 1 is blank"),
    (["a", "--top-p", "0.5"], "top_p=0.5 does nothing without sampling"),
])
def test_bad_input(weft, arguments: list[str], message: str) -> None:
    status, out, err = weft("explain", *arguments)
    assert status == 2 and out == "" and message in err


def test_settings_in_force(weft) -> None:
    plain = weft("translate", "Bonjour.")
    status, out, err = weft("translate", "Bonjour.", "--explain-settings", "--length-penalty", 0.5)
    assert status == 0 and out == plain[1]
    for part in ("settings of fr-en", "strategy: Beam search", "beams = 4 (model's defaults): live hypotheses",
                 "length_penalty = 0.5 (command line)", "processors of every search, in order: bans", "a text ends at"):
        assert part in err, part
    assert "of the draw" not in err
    err = weft("complete", "ROMEO:", "--model", "shakespeare", "--sample", "--top-p", 0.9, "--temperature", 0.7,
               "--max-new-tokens", 3, "--explain-settings", "--stop", "X")[2]
    for part in ("strategy: Sampling", "temperature(value 0.7), top_p(p 0.9)", "or the text 'X', or at 3 new tokens"):
        assert part in err, part
    err = weft("translate", "Bonjour.", "--explain-settings", "--beams", 1)[2]
    assert "strategy: Greedy search" in err and "beams = 1 (command line)" in err
