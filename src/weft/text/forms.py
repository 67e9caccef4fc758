"""What each id adds to a text: inside it, and where no space comes before. It knows nothing of encoding.

A tokenizer of one of Weft's kinds says it by its pieces. Of an imported one the library's decoder is asked what an id
adds between two others; only pieces that are bytes, which make no text alone, are read as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from weft.errors import TokenizerError
from weft.text.pieces import byte_level
from weft.text.tokenizer import Tokenizer

_BYTE = re.compile("<0x([0-9A-F]{2})>")


class Forms:
    """inside[id]: bytes that an id adds in the middle of a text; first[id]: where no space comes before, as at its start.

    Both are empty for special tokens, for ids without a text, and for those whose text depends on what follows.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises TokenizerError for a decoder under which no id has a text of its own."""
        self._tokenizer, library = tokenizer, tokenizer.library
        state = json.loads(tokenizer.to_json())
        self._decoders = _types(state.get("decoder"))
        self._suffix: str = (state.get("decoder") or {}).get("suffix", "") if "BPEDecoder" in self._decoders else ""
        self._special = {index for index, token in library.get_added_tokens_decoder().items() if token.special}
        pieces = tokenizer.tokens(range(tokenizer.rows))
        if tokenizer.spells:
            self.inside = [tokenizer.bytes_of(token) for token in range(len(pieces))]
            self.first = [data.removeprefix(b" ") for data in self.inside] if tokenizer.leading_space else self.inside
        elif "ByteLevel" in self._decoders:
            self.inside = self.first = [b"" if token in self._special else byte_level(piece)
                                        for token, piece in enumerate(pieces)]
        elif self._suffix:
            plain = [b"" if token in self._special else piece.replace(self._suffix, "").encode()
                     for token, piece in enumerate(pieces)]
            self.inside, self.first = [b" " + data if data else b"" for data in plain], plain
        else:
            self.inside, self.first = self._asked(pieces)
        self.silent = [token for token, data in enumerate(self.inside) if data and not self.first[token]]
        """Ids that add nothing to the start of a text, but what follows them is inside it."""
        self._opening = self.inside
        if self.silent and self._strips_all():
            self.silent, self._opening = [], self.first
        if not any(self.inside):
            raise TokenizerError("no token of this tokenizer has a text of its own, so that texts cannot be told by tokens; "
                                 f"its decoder is {', '.join(sorted(self._decoders)) or 'none'}")

    def spaced(self, before: Sequence[int]) -> bool:
        """Whether the next id, after ids `before`, adds its inside form."""
        if self._suffix:  # OpenAI's GPT: the end of a word says that a space follows
            said = [token for token in before if token not in self._special]
            return bool(said) and self._tokenizer.tokens(said[-1:])[0].endswith(self._suffix)
        return any(self._opening[token] for token in before if 0 <= token < len(self.inside))

    def added(self, ids: Sequence[int], before: Sequence[int] = ()) -> bytes:
        """What `ids` add to a text after ids `before`."""
        given, found = list(before), b""
        for token in ids:
            if 0 <= token < len(self.inside):
                found += (self.inside if self.spaced(given) else self.first)[token]
            given.append(token)
        return found

    def _strips_all(self) -> bool:
        """Whether all spaces at the start of a text are dropped, as Marian does, and not the first alone."""
        follower = next((token for token, data in enumerate(self.first) if data and data != self.inside[token]), None)
        return follower is not None and self._tokenizer.decode([self.silent[0], follower]) == self._tokenizer.decode([follower])

    def _asked(self, pieces: list[str]) -> tuple[list[bytes], list[bytes]]:
        """(inside, first) by the library's decoder: what it makes of an id between two others, less those."""
        ordinary = [token for token, piece in enumerate(pieces) if piece and token not in self._special]
        fallback = "ByteFallback" in self._decoders
        around = next((token for token in ordinary if not (fallback and _BYTE.fullmatch(pieces[token]))
                       and len(self._say([[token]])[0].strip()) == len(self._say([[token]])[0]) > 0), None)
        inside, first = [b""] * len(pieces), [b""] * len(pieces)
        if around is None:
            return inside, first
        alone, twice = self._say([[around], [around, around]])
        if not twice.startswith(alone):
            return inside, first
        after = twice[len(alone) :]
        between = self._say([[around, token, around] for token in ordinary])
        begun = self._say([[token, around] for token in ordinary])
        for token, middle, start in zip(ordinary, between, begun, strict=True):
            byte = _BYTE.fullmatch(pieces[token]) if fallback else None
            if byte and int(byte[1], 16) > 0x7F:
                inside[token] = first[token] = bytes([int(byte[1], 16)])
            elif middle.startswith(alone) and middle.endswith(after) and len(middle) >= len(alone) + len(after):
                inside[token] = middle[len(alone) : len(middle) - len(after)].encode()
                first[token] = start[: len(start) - len(after)].encode() if start.endswith(after) else b""
        return inside, first

    def _say(self, rows: list[list[int]]) -> list[str]:
        return self._tokenizer.library.decode_batch(rows, skip_special_tokens=False)


def _types(decoder: Any) -> set[str]:
    """Names of a decoder's parts."""
    if not isinstance(decoder, dict):
        return set()
    return {decoder["type"]}.union(*(_types(part) for part in decoder.get("decoders") or ()))
