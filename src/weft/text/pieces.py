"""The bytes behind each piece, for tokenizers made by a recipe. It knows nothing of encoding.

Text is the bytes of its pieces joined and read as UTF-8, each unreadable stretch as U+FFFD. This agrees with the
library's own decoder on every encoded text. On bytes that are no UTF-8, which a model may write, the library gives up
the whole run of byte tokens; here only the bad bytes are lost, so that text once streamed never changes.
"""

from __future__ import annotations

import re

from weft.text.recipes import BYTE_FALLBACK, CONTINUING, Recipe


def piece_bytes(recipe: Recipe, piece: str, specials: frozenset[str]) -> bytes:
    """Bytes of a piece of the vocabulary. A special token spells its own name."""
    spell = {"byte_bpe": byte_level, "wordpiece": _continuing, **dict.fromkeys(BYTE_FALLBACK, _byte_fallback)}
    return piece.encode() if piece in specials else spell.get(recipe.kind, str.encode)(piece)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's character for each byte: itself where printable, else the next one from U+0100 (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(rest)}


_BYTE_OF = _byte_alphabet()


def byte_level(piece: str) -> bytes:
    """Bytes of a piece of a byte-level vocabulary."""
    known = all(character in _BYTE_OF for character in piece)  # else plain text, as the library takes it
    return bytes(_BYTE_OF[character] for character in piece) if known else piece.encode()


def _byte_fallback(piece: str) -> bytes:
    token = re.fullmatch("<0x([0-9A-F]{2})>", piece)
    return bytes([int(token[1], 16)]) if token else piece.encode()


def _continuing(piece: str) -> bytes:
    return (piece.removeprefix(CONTINUING) or piece).encode()
