"""What each tokenizer kind does around its model: normalise, split, join. It trains nothing and reads no file.

Pieces carry the space itself (" the"), not a stand-in such as U+2581, so no character of the text needs an escape.
Every kind but byte_bpe and character puts one space before the text, so that a word at its start shares its piece
with the same word inside it; decoding takes that one space away again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, decoders, normalizers, pre_tokenizers

from weft.errors import UnknownNameError

# A run of letters and marks, one digit, or one punctuation character or symbol, each with at most one space before
# it; or white space. As letters never share a match with punctuation, no match can be a special token or a byte
# token such as "<0x0A>". At most 64 characters, so that no model meets a word too long for it.
WORDS = r" ?[\p{L}\p{M}]{1,64}| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\s{1,64}(?!\S)|\s{1,64}"
CHARACTERS = r"[\s\S]"
CONTINUING = "##"  # marks a WordPiece piece that continues a word; a lone "#" is always a match of its own

MODELS = {
    "byte_bpe": "BPE",
    "metaspace_bpe": "BPE",
    "unigram": "Unigram",
    "wordpiece": "WordPiece",
    "word": "WordLevel",
    "character": "WordLevel",
}
KINDS = tuple(MODELS)
BYTE_FALLBACK = ("metaspace_bpe", "unigram")  # a character without a piece becomes its UTF-8 bytes, 256 byte tokens
LOSSLESS = ("byte_bpe", *BYTE_FALLBACK)  # decoding gives back any Unicode text whatever


@dataclass(frozen=True)
class Recipe:
    """The library's parts for one kind. `leading_space` says that decoding drops one space at the start."""

    kind: str
    lowercase: bool

    @property
    def leading_space(self) -> bool:
        return self.kind not in ("byte_bpe", "character")

    @property
    def lossless(self) -> bool:
        return self.kind in LOSSLESS and not self.lowercase

    @property
    def normalizer(self) -> Any:
        steps: list[Any] = [normalizers.Lowercase()] if self.lowercase else []
        if self.leading_space:
            steps.append(normalizers.Prepend(" "))
        return normalizers.Sequence(steps) if steps else None

    @property
    def pre_tokenizer(self) -> Any:
        if self.kind == "byte_bpe":  # the regular expression of GPT-2, Radford et al. 2019
            return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        return pre_tokenizers.Split(Regex(CHARACTERS if self.kind == "character" else WORDS), "isolated")

    @property
    def decoder(self) -> Any:
        if self.kind == "byte_bpe":
            return decoders.ByteLevel()
        steps: list[Any] = [decoders.Fuse()]
        if self.kind in BYTE_FALLBACK:
            steps.insert(0, decoders.ByteFallback())
        if self.kind == "wordpiece":
            steps.insert(0, decoders.Replace(Regex(f"^{CONTINUING}(?=[\\s\\S])"), ""))
        if self.leading_space:
            steps.append(decoders.Strip(" ", 1, 0))
        return decoders.Sequence(steps)

    def dress(self, hf: Any) -> Any:
        """Give a library tokenizer this recipe's parts, and return it."""
        if self.normalizer is not None:
            hf.normalizer = self.normalizer
        hf.pre_tokenizer, hf.decoder = self.pre_tokenizer, self.decoder
        return hf

    def matches(self, hf: Any) -> bool:
        """Whether a library tokenizer has exactly this recipe's parts."""
        return (
            type(hf.model).__name__ == MODELS[self.kind]
            and _state(hf.normalizer) == _state(self.normalizer)
            and _state(hf.pre_tokenizer) == _state(self.pre_tokenizer)
            and _state(hf.decoder) == _state(self.decoder)
        )


def recipe(kind: str, lowercase: bool = False) -> Recipe:
    """The recipe of a kind. Raises UnknownNameError for a kind outside KINDS."""
    if kind not in MODELS:
        raise UnknownNameError("tokenizer kind", kind, KINDS)
    return Recipe(kind, lowercase)


def recognise(hf: Any) -> Recipe | None:
    """The recipe a library tokenizer was made by, or None where it came from elsewhere."""
    candidates = (Recipe(kind, lowercase) for kind in KINDS for lowercase in (False, True))
    return next((candidate for candidate in candidates if candidate.matches(hf)), None)


def _state(part: Any) -> bytes | None:
    """The library's own serialisation of a part, the one way to compare two."""
    return None if part is None else part.__getstate__()
