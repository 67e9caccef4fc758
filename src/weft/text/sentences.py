"""Cutting a long text at sentence ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# An end mark, with closing quotes and brackets (in French after a space), then white space; or a mark of the scripts
# that put no space after it.
_END = re.compile(r"[.!?…]+(?:\s*[»”]|[\"'’)\]])*(?=\s)|[。！？]+[」』”]*")
_ABBREVIATION = re.compile(r"(?:^|\W)(?:M|MM|Mme|Mlle|Dr|Mr|Mrs|Ms|Prof|St|cf|e\.g|i\.e|p\. ?ex|[A-Z])\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space between them left out."""
    return [part for part in (piece.strip() for piece in _cut(text)) if part]


def _cut(text: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(text):
        following = text[match.end() :].lstrip()
        if _ABBREVIATION.search(text[start : match.end()]) or following[:1].islower():
            continue
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


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
