"""Tokenizer: text to ids and back, thin over the `tokenizers` library. It knows nothing of models and tasks.

A tokenizer is what its JSON says; its fingerprint is a hash of that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from weft.errors import TokenizerError
from weft.text import trainers
from weft.text.recipes import recipe, recognise

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else the library warns after a fork
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")


class Tokenizer:
    """Text <-> ids. Text that spells a special token is ordinary text: only a model's code adds special ids.

    kind: one of weft.text.recipes.KINDS, or `imported`. lossless: decode(encode(text)) == text for any text; byte_bpe,
    metaspace_bpe and unigram are. character and word give back text of known characters and words; wordpiece
    loses nothing but pieces outside its alphabet, which become <unk>.
    """

    pad, unk, bos, eos = 0, 1, 2, 3

    def __init__(self, library_tokenizer: Any) -> None:
        self._hf = library_tokenizer
        self._hf.encode_special_tokens = True
        found = recognise(self._hf)
        self.kind = found.kind if found else "imported"
        self.lossless = bool(found and found.lossless)
        self._leading_space = bool(found and found.leading_space)

    # ------------------------------------------------------------ making, saving, opening

    @staticmethod
    def train(kind: str, texts: Iterable[str], vocabulary_size: int, *,
              special_tokens: Sequence[str] = SPECIAL_TOKENS, lowercase: bool = False) -> Tokenizer:
        """Raises TokenizerError. The same texts give the same tokenizer, byte for byte; unigram and wordpiece may
        differ in pieces of equal worth, whose order the library leaves to chance."""
        return Tokenizer(trainers.train(recipe(kind, lowercase), texts, vocabulary_size, special_tokens))

    @staticmethod
    def from_json(text: str) -> Tokenizer:
        try:
            return Tokenizer(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises plain Exception for any fault in the JSON
            raise TokenizerError(f"this is no tokenizer of the `tokenizers` library: {error}") from error

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        try:
            return Tokenizer.from_json(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, TokenizerError) as error:
            raise TokenizerError(f"cannot read the tokenizer {path}: {error}") from error

    def to_json(self) -> str:
        return self._hf.to_str()

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json(), "utf-8")

    @property
    def fingerprint(self) -> str:
        """`sha256:` and 16 hex digits of the JSON with its keys sorted and white space left out."""
        canonical = json.dumps(json.loads(self.to_json()), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()[:16]

    # ------------------------------------------------------------ text and ids

    @property
    def vocabulary_size(self) -> int:
        return self._hf.get_vocab_size()

    def __len__(self) -> int:
        return self.vocabulary_size

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special ones added. Raises TokenizerError for a lone surrogate."""
        return self._hf.encode(trainers.check_text(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        checked = [trainers.check_text(text) for text in texts]
        return [encoding.ids for encoding in self._hf.encode_batch(checked, add_special_tokens=False)]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return self._hf.decode(list(ids), skip_special_tokens=skip_special)

    def decode_batch(self, rows: Sequence[Sequence[int]], skip_special: bool = True) -> list[str]:
        return self._hf.decode_batch([list(row) for row in rows], skip_special_tokens=skip_special)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece behind each id, as the vocabulary spells it."""
        return [self._hf.id_to_token(int(token)) or "" for token in ids]

    def id_of(self, token: str) -> int | None:
        return self._hf.token_to_id(token)


class StreamDecoder:
    """Decodes a growing sequence: what `push` gives, put together with `flush`, is decode() of the whole.

    Text is held back while it may still change: half a UTF-8 character shows as U+FFFD until it is whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = ""

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        self._ids.append(token)
        return self._advance(self._tokenizer.decode(self._ids).rstrip("\ufffd"))

    def flush(self) -> str:
        """The rest, incomplete characters as U+FFFD."""
        return self._advance(self._tokenizer.decode(self._ids))

    def _advance(self, text: str) -> str:
        if not text.startswith(self._given):
            return ""
        new = text[len(self._given) :]
        self._given += new
        return new
