"""Sentence ends in French and English, and pieces that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.text.sentences import sentences, split_to_fit


@pytest.mark.parametrize("text,expected", [
    ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    ("Il n'est pas là. Tu viens ? Oui !", ["Il n'est pas là.", "Tu viens ?", "Oui !"]),
    ("Il a dit « Viens ! » Puis il partit.", ["Il a dit « Viens ! »", "Puis il partit."]),
    ("M. Dupont et Mme. Durand dorment. Moi aussi.", ["M. Dupont et Mme. Durand dorment.", "Moi aussi."]),
    ('"Stop!" he said. Then he left.', ['"Stop!" he said.', "Then he left."]),
    ("Version 3.11 is out... and it works.", ["Version 3.11 is out... and it works."]),
    ("你好。再见！", ["你好。", "再见！"]),
    ("no end", ["no end"]),
    ("", []),
])
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="ab .!?»é\n", max_size=200), st.integers(1, 20))
def test_all_pieces_fit_and_no_letter_is_lost(text: str, limit: int) -> None:
    pieces = split_to_fit(text, lambda piece: len(piece) <= limit)
    assert all(len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
