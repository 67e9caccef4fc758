"""Tokenizer: text to ids and back, thin over the `tokenizers` library. It knows nothing of models and tasks.

A tokenizer is what its JSON says; its fingerprint is a hash of that.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from weft.errors import TokenizerError
from weft.text import trainers
from weft.text.pieces import piece_bytes
from weft.text.recipes import recipe, recognise

_PARALLELISM = "TOKENIZERS_PARALLELISM"
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")


class Tokenizer:
    """Text <-> ids. Text that spells a special token is ordinary text: only a model's code adds special ids.

    kind: one of weft.text.recipes.KINDS, or `imported`. lossless: decode(encode(text)) == text for any text; byte_bpe,
    metaspace_bpe and unigram are. character and word give back text of known characters and words; wordpiece
    loses nothing but pieces outside its alphabet, which become <unk>.
    """

    pad, unk, bos, eos = 0, 1, 2, 3  # of trained tokenizers; for an imported one the model's configuration says

    def __init__(self, library_tokenizer: Any) -> None:
        self._hf = library_tokenizer
        self._hf.encode_special_tokens = True
        self._hf.no_truncation()  # a foreign file may ask for both; text is never cut in silence
        self._hf.no_padding()
        found = recognise(self._hf)
        self.kind = found.kind if found else "imported"
        self.lossless = bool(found and found.lossless)
        self.leading_space = bool(found and found.leading_space)
        self._recipe = found
        self._spelt: dict[int, bytes] = {}

    # ------------------------------------------------------------ making, saving, opening

    @staticmethod
    def train(kind: str, texts: Iterable[str], vocabulary_size: int, *,
              special_tokens: Sequence[str] = SPECIAL_TOKENS, lowercase: bool = False) -> Tokenizer:
        """Raises TokenizerError. The same texts give the same tokenizer, byte for byte, except for unigram: the
        library's trainer reads words in the order of a hash table, which moves scores by some thousandths and may
        choose between pieces of equal worth."""
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

    @property
    def library(self) -> Any:
        """The `tokenizers` tokenizer itself."""
        return self._hf

    # ------------------------------------------------------------ text and ids

    @property
    def vocabulary_size(self) -> int:
        return self._hf.get_vocab_size()

    def __len__(self) -> int:
        return self.vocabulary_size

    @property
    def rows(self) -> int:
        """Rows that an embedding needs: the largest id and one more; ids may leave gaps."""
        return max(self._hf.get_vocab().values(), default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special ones added but for one of `openings`. Raises TokenizerError for a lone surrogate."""
        opening = self.opening(text)
        ids = self._hf.encode(trainers.check_text(text)[len(opening) :], add_special_tokens=False).ids
        return [self._hf.token_to_id(opening), *ids] if opening else ids

    def encode_with_places(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text, and where each stands in it: its first character and the one after its last."""
        encoding = self._hf.encode(trainers.check_text(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        first = [self.opening(text) for text in texts]
        rest = [trainers.check_text(text)[len(opening) :] for text, opening in zip(texts, first, strict=True)]
        rows = [encoding.ids for encoding in self._hf.encode_batch(rest, add_special_tokens=False)]
        return [[self._hf.token_to_id(opening), *row] if opening else row for opening, row in zip(first, rows, strict=True)]

    def opening(self, text: str) -> str:
        """The language token, such as >>fra<<, that a text begins with; empty if there is none."""
        opening = text[: text.find("<<") + 2] if text.startswith(">>") else ""
        return opening if opening in self.openings else ""

    @cached_property
    def openings(self) -> frozenset[str]:
        """Special tokens that a text may spell at its very start: those between >> and << that the template names but has
        no place for. Other tokenizers have such tokens too, but not in their templates."""
        state = json.loads(self._hf.post_processor.__getstate__()) if self._hf.post_processor else {}
        return frozenset(token for token in state.get("special_tokens") or () if token.startswith(">>") and token.endswith("<<")
                         and all(token != piece.get("SpecialToken", {}).get("id") for piece in state["single"]))

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD. `skip_special` leaves out <unk> too."""
        if not self.spells:
            return self._hf.decode(list(ids), skip_special_tokens=skip_special)
        data = b"".join(self.bytes_of(token, skip_special) for token in ids)
        return (data.removeprefix(b" ") if self.leading_space else data).decode("utf-8", "replace")

    def decode_batch(self, rows: Sequence[Sequence[int]], skip_special: bool = True) -> list[str]:
        return [self.decode(row, skip_special) for row in rows]

    def bytes_of(self, token: int, skip_special: bool = True) -> bytes:
        """What one id adds to the text: nothing for a special one that is skipped or an id past the vocabulary."""
        if skip_special and token in self._special_ids:
            return b""
        if token not in self._spelt:
            assert self._recipe is not None
            piece = self._hf.id_to_token(token) if token >= 0 else None
            self._spelt[token] = b"" if piece is None else piece_bytes(self._recipe, piece, self._added)
        return self._spelt[token]

    @property
    def spells(self) -> bool:
        """Whether the bytes of each id are known; not those of an imported tokenizer, whose decoder only the library knows."""
        return self._recipe is not None

    @cached_property
    def _added(self) -> frozenset[str]:
        return frozenset(token.content for token in self._hf.get_added_tokens_decoder().values())

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(index for index, token in self._hf.get_added_tokens_decoder().items() if token.special)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece behind each id, as the vocabulary spells it."""
        return [self._hf.id_to_token(int(token)) or "" for token in ids]

    @property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids that the tokenizer's own template puts before and after one text, such as [CLS] and [SEP]."""
        plain = self._hf.encode("a", add_special_tokens=False).ids
        dressed = self._hf.encode("a", add_special_tokens=True).ids
        starts = range(len(dressed) - len(plain) + 1)
        start = next((i for i in starts if dressed[i : i + len(plain)] == plain), None)
        if start is None:
            return (), ()
        return tuple(dressed[:start]), tuple(dressed[start + len(plain) :])

    def strips(self, token: int) -> tuple[bool, bool]:
        """Whether an added token takes white space before it, and after it, with it."""
        added = self._hf.get_added_tokens_decoder().get(token)
        return (added.lstrip, added.rstrip) if added else (False, False)

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Those that no text becomes -> id."""
        return {token.content: index for index, token in self._hf.get_added_tokens_decoder().items() if token.special}

    def with_template(self, before: Sequence[int], after: Sequence[int]) -> Tokenizer:
        """A tokenizer whose own template puts these ids around a text, where this one has none; the plain one, of
        `_template`. A tokenizer that came with one keeps it."""
        if self._hf.post_processor is not None or not (before or after):
            return self
        return Tokenizer.from_json(json.dumps(json.loads(self.to_json()) | {"post_processor": self._template(before, after)}))

    def without_template(self, before: Sequence[int], after: Sequence[int]) -> Tokenizer:
        """The inverse of `with_template`: this tokenizer, without its template where that is the plain one."""
        processor = self._hf.post_processor
        if processor is None or json.loads(processor.__getstate__()) != self._template(before, after):
            return self
        return Tokenizer.from_json(json.dumps(json.loads(self.to_json()) | {"post_processor": None}))

    def _template(self, before: Sequence[int], after: Sequence[int]) -> dict[str, Any]:
        """TemplateProcessing as the library writes it: BERT's, with segment 1 for the second text of a pair."""
        names = dict(zip((*before, *after), self.tokens((*before, *after)), strict=True))

        def pieces(ids: Sequence[int], segment: int) -> list[dict[str, Any]]:
            return [{"SpecialToken": {"id": names[token], "type_id": segment}} for token in ids]

        def text(name: str, segment: int) -> dict[str, Any]:
            return {"Sequence": {"id": name, "type_id": segment}}

        single = [*pieces(before, 0), text("A", 0), *pieces(after, 0)]
        return {"type": "TemplateProcessing", "single": single, "pair": [*single, text("B", 1), *pieces(after, 1)],
                "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]} for token, name in names.items()}}

    def id_of(self, token: str) -> int | None:
        return self._hf.token_to_id(trainers.check_text(token))


class StreamDecoder:
    """Decodes a growing sequence: what `push` gives, put together with `flush`, is decode() of the whole.

    A character is held back until all its bytes are there, so call `flush` at the end. For an imported tokenizer, whose
    pieces have no bytes of their own, the whole is decoded at each push; text that it changes afterwards stays as given.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        """prompt: ids that came before and are not said again."""
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._ids: list[int] = []  # these two for imported tokenizers only
        self._given = ""
        for token in prompt:
            self.push(token)

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        if self._tokenizer.spells:
            return self._utf8.decode(self._next_bytes(token))
        self._ids.append(token)
        return self._advance(self._tokenizer.decode(self._ids).rstrip("\ufffd"))

    def flush(self) -> str:
        """The rest, incomplete characters as U+FFFD."""
        if self._tokenizer.spells:
            return self._utf8.decode(b"", final=True)
        return self._advance(self._tokenizer.decode(self._ids))

    def _next_bytes(self, token: int) -> bytes:
        data = self._tokenizer.bytes_of(token)
        first, self._begun = not self._begun and data != b"", self._begun or data != b""
        return data.removeprefix(b" ") if first and self._tokenizer.leading_space else data

    def _advance(self, text: str) -> str:
        if not text.startswith(self._given):
            return ""
        new = text[len(self._given) :]
        self._given += new
        return new


# The library's threads do not survive a fork: a child that used them would wait for ever, and the library warns unless
# the variable is set. So a child encodes in one thread; the parent's setting is put back. A value set by the user stays.
_unset_before_fork: list[bool] = []


def _before_fork() -> None:
    _unset_before_fork.append(_PARALLELISM not in os.environ)
    os.environ.setdefault(_PARALLELISM, "false")


def _after_fork_in_parent() -> None:
    if _unset_before_fork.pop():
        os.environ.pop(_PARALLELISM, None)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
