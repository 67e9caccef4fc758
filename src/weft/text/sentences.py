"""Cutting a long text at sentence ends."""

from __future__ import annotations

import re
from collections.abc import Callable

# After . ! ? … and closing quotes or brackets, before white space (the scripts without spaces: after 。！？).
_END = re.compile(r"(?<=[.!?…])(?:(?<=.)[\"'»”’)\]]*)\s+|(?<=[。！？])")


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space between them left out."""
    return [part.strip() for part in _END.split(text) if part and part.strip()]


def split_to_fit(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Pieces of `text` that all fit: whole sentences, as many together as fit; a sentence that is too long alone
    is cut at spaces, and a word that is too long alone in halves."""
    pieces: list[str] = []
    for sentence in sentences(text):
        joined = f"{pieces[-1]} {sentence}" if pieces else sentence
        if pieces and fits(joined):
            pieces[-1] = joined
        else:
            pieces += [sentence] if fits(sentence) else _halve(sentence, fits)
    return pieces


def _halve(text: str, fits: Callable[[str], bool]) -> list[str]:
    if fits(text) or len(text) < 2:
        return [text]
    middle = len(text) // 2
    space = text.rfind(" ", 1, middle + 1)
    cut = space if space > 0 else middle
    return [piece for half in (text[:cut], text[cut:]) if half.strip() for piece in _halve(half.strip(), fits)]
