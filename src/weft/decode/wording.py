"""Options that a user gives as texts, in the ids that decoding goes by: words, a prefix and suffix, tokens by their text.

Ids stay as they are. In running text most tokenizers spell a word with the space before it, so a word has two spellings:
one that brings its space along and one that does not. What the tokenizer cannot express is refused by name.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from weft.decode.inputs import own_kinds
from weft.errors import UsageError
from weft.spec.ranges import shown
from weft.text import Tokenizer
from weft.text.forms import Forms
from weft.text.trainers import check_text

Row = tuple[int, ...]


class Wording:
    """Of one tokenizer. continues: whether an output goes on with a prompt, rather than being a text of its own."""

    def __init__(self, tokenizer: Tokenizer, continues: bool) -> None:
        self._tokenizer, self._continues = tokenizer, continues
        self._readers: dict[str, Callable[[str, Any], Any]] = {
            "banned_words": self._banned, "forced_words": self._forced, "prefix": self._prefix, "suffix": self._suffix,
            "banned": self._tokens, "eos": self._tokens, "forced_first": self._token, "forced_last": self._token,
            "logit_bias": self._biases, "stop": self._stops, "json_schema": self._schema}

    def in_ids(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Option values with ids in place of texts, and tuples in place of lists. Raises UsageError."""
        read = {name: (self._readers.get(name), own_kinds(value)) for name, value in options.items()}
        return {name: value if reader is None else own_kinds(reader(name, value)) for name, (reader, value) in read.items()}

    # ------------------------------------------------------------ one option each

    def _banned(self, name: str, value: Any) -> Any:
        """Each word with and without a space before it, its first letter as it is, capital and small."""
        rows: list[Any] = []
        for word in _each(value):
            rows += [word] if not isinstance(word, str) or not word else [
                row for form in dict.fromkeys((word, word[0].upper() + word[1:], word[0].lower() + word[1:]))
                for row in self._spellings(name, form, must=form == word).values()]
        try:
            return list(dict.fromkeys(rows))
        except TypeError:  # what is no row is refused with the options
            return rows

    def _forced(self, name: str, value: Any) -> Any:
        """Each word as it stands in running text: after a space, where its script puts one between words."""
        return [self._spelling(name, word, int(_stands_apart(word))) if isinstance(word, str) and word else word
                for word in _each(value)]

    def _prefix(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return () if value in (None, "") else value
        if self._continues:
            return self._spelling(name, value, 0)
        row = tuple(self._tokenizer.encode(value))
        if not self._says(row, self._forms.added(row), value):
            raise self._unknown(name, value)
        return row

    def _suffix(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return () if value in (None, "") else value
        return self._spelling(name, value, 0)

    def _tokens(self, name: str, value: Any) -> Any:
        return [self._token(name, item) for item in _each(value)]

    def _token(self, name: str, value: Any) -> Any:
        """The id of a token: by its piece, such as </s> or >>fra<<, else by the text that it alone spells."""
        if not isinstance(value, str) or not value:
            return value
        found = self._tokenizer.id_of(value)
        if found is not None:
            return found
        row = self._spellings(name, value).get(0, ())
        if len(row) != 1:
            number = f"; a token's id is a number, id:{value} on the command line" if value.isdecimal() else ""
            pieces = f"but of {len(row)}: {', '.join(map(repr, self._tokenizer.tokens(row)))}" if row else "nor the text of one"
            raise UsageError(f"{name} names {value!r:.60}, which is no token of this model, {pieces}{number}; banned_words "
                             f"takes words of any length")
        return row[0]

    def _stops(self, name: str, value: Any) -> Any:
        texts = (value,) if isinstance(value, str) else value
        for text in texts if isinstance(texts, tuple) else ():
            if isinstance(text, str):
                check_text(text)
        return texts

    def _schema(self, name: str, value: Any) -> Any:
        try:
            return json.dumps(value) if isinstance(value, Mapping) else value
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{name} is {shown(value)}, which cannot be written as JSON: {error}") from error

    def _biases(self, name: str, value: Any) -> Any:
        pairs = value.items() if isinstance(value, Mapping) else value
        if not isinstance(pairs, Iterable):
            return value
        return [(self._token(name, pair[0]), *pair[1:]) if isinstance(pair, (tuple, list)) and pair else pair for pair in pairs]

    # ------------------------------------------------------------ spelling

    @cached_property
    def _forms(self) -> Forms:
        return Forms(self._tokenizer)

    @cached_property
    def _inside(self) -> list[int]:
        """Ids after which a text goes on inside."""
        bracket = self._tokenizer.encode("(")
        return bracket if self._forms.spaced(bracket) else [
            next(token for token in range(len(self._forms.inside)) if self._forms.spaced([token]))]

    def _spelling(self, name: str, text: str, spaces: int) -> Row:
        """The spelling with that many spaces before the text, else the other one."""
        found = self._spellings(name, text)
        return found.get(spaces, next(iter(found.values())))

    def _spellings(self, name: str, text: str, must: bool = True) -> dict[int, Row]:
        """Spaces that it puts before the text (0 or 1) -> ids that spell it in the middle of a text.

        Raises UsageError if there is no spelling at all and there must be one.
        """
        found: dict[int, Row] = {}
        mark = not text.lstrip()[:1].isalnum()  # "(." may be one piece, and "aword" one word
        for before, written in (("a" if mark else "(", text), ("", text), ("", " " + text)):
            head, whole = self._tokenizer.encode(before), self._tokenizer.encode(before + written)
            row = tuple(whole[len(head) :])
            added = self._forms.added(row, self._inside)
            spaces = _spaces(added.decode("utf-8", "replace")) - _spaces(text)
            if whole[: len(head)] == head and spaces in (0, 1) and self._says(row, added, text):
                found.setdefault(spaces, row)
        if must and not found:
            raise self._unknown(name, text)
        return found

    def _says(self, row: Row, added: bytes, text: str) -> bool:
        """Whether ids that add `added` say the text, as far as a tokenizer tells letters apart, and no id is unknown."""
        return bool(row) and all(self._forms.inside[token] for token in row) and \
            _letters(added.decode("utf-8", "replace")) == _letters(text)

    def _unknown(self, name: str, text: str) -> UsageError:
        return UsageError(f"{name} holds {text!r:.60}, which this model's tokenizer cannot express: it reads it as "
                          f"{self._tokenizer.decode(self._tokenizer.encode(text), skip_special=False)!r:.60}; leave it out")


def _each(value: Any) -> Any:
    """A single text is a list of one."""
    return [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]


def _spaces(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _stands_apart(word: str) -> bool:
    """Whether running text has a space before a word: not before punctuation, nor in scripts written without."""
    return word[0].isalnum() and unicodedata.east_asian_width(word[0]) not in ("W", "F")


def _letters(text: str) -> str:
    """What is left of a text under a tokenizer that makes letters small, drops accents and spaces."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text).casefold()
                   if not unicodedata.combining(sign) and not sign.isspace())
