"""Guided output: texts that fit a JSON schema, a regular expression or a Lark grammar, by llguidance (weft[guided]).

A rule that leaves the tokens by which the text so far may still become one that fits, and the end exactly where it does.
It is a pure function of a row's tokens: what it keeps is only there to save work. JSON is written with at most one space
between its parts, so that a model cannot go on with white space for ever; "x-guidance" in a schema changes that
(llguidance, docs/json_schema.md). A tokenizer that drops spaces at the end of a text (Marian's) drops them here too.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from weft.decode.rows import Request, Rows
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.text import Tokenizer
from weft.text.forms import Forms

KINDS = ("json_schema", "regex", "grammar")
JSON = {"whitespace_pattern": "[ ]?"}
KEPT = 1024
"""Matchers that are remembered, of some ten kilobytes each."""
NO_FORCING = '%llguidance {"no_forcing": true}\n'
"""So that where one text alone fits, any tokens that spell it may be chosen, not only those that llguidance would take."""
Ids = Sequence[int]


class Vocabulary:
    """A tokenizer as llguidance sees it: V inside forms, the first forms that differ from them, and one end of text.

    Raises UsageError without llguidance, TokenizerError for a tokenizer whose ids have no text of their own.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """size: V, rows of the model's embedding."""
        library, forms = _library(), Forms(tokenizer)
        self.forms, self.size = forms, size
        self.differing = np.array([token for token, data in enumerate(forms.first) if data != forms.inside[token]], np.int64)
        self._place = {int(token): size + index for index, token in enumerate(self.differing)}
        unused, at_first = [b""] * (size - len(forms.inside)), [forms.first[token] for token in self.differing]
        self.tokens = [*forms.inside, *unused, *at_first, b""]
        self.end = self.eos_token_id = len(self.tokens) - 1
        self.bos_token_id = None
        self.compiled = library.LLTokenizer(library.TokenizerWrapper(self))

    def __call__(self, text: bytes) -> list[int]:
        """What llguidance asks where a text can go on in one way only, which it is told not to look for (NO_FORCING)."""
        return []

    def place(self, token: int, spaced: bool) -> int:
        """The token of llguidance that an id is there."""
        return token if spaced else self._place.get(token, token)

    def allowed(self, matcher: Any, spaced: bool) -> tuple[np.ndarray, bool]:
        """bool [V]: ids that may come next, and whether the text may end."""
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[: self.end + 1].view(bool)
        if matcher.is_error():  # where it would let the text end
            if not matcher.get_error().startswith("NoExtension"):
                raise UsageError(f"the output cannot be guided further: {_shortened(matcher.get_error())}")
            bits = np.zeros_like(bits)  # a dead end: no token spells what must follow
        found = bits[: self.size]
        if not spaced:
            found[self.differing] = bits[self.size : self.end]
            found[self.forms.silent] = True
        return found, bool(bits[self.end])


class Guide:
    """The rule of one of the options json_schema, regex and grammar."""

    order: ClassVar[int] = 0
    shapes: ClassVar[bool] = False

    def __init__(self, kind: str, text: str, vocabulary: Vocabulary) -> None:
        """Raises UsageError, with the place, for a `text` that is no such thing or that nothing fits."""
        matcher = _library().LLMatcher
        self.kind, self.vocabulary = kind, vocabulary
        self._lark = _lark(kind, text, matcher)
        self._start = matcher(vocabulary.compiled, matcher.grammar_from_lark(NO_FORCING + self._lark), log_level=0)
        if self._start.is_error():
            raise UsageError(f"{kind} cannot be followed: {_shortened(self._start.get_error())}")
        self._known: OrderedDict[tuple[bool, tuple[int, ...]], Any] = OrderedDict()

    @classmethod
    def from_options(cls, options: GenerationOptions) -> None:
        """Options alone do not make one: see `guide`."""

    def __call__(self, logits: np.ndarray, rows: Rows) -> np.ndarray:
        may, ends = np.zeros(logits.shape, bool), list(rows.ends)
        for row, tokens in enumerate(rows.tokens.tolist()):
            request = rows.request(row)
            matcher = self._after(_before(request), tokens)
            if matcher is not None:
                spaced = self.vocabulary.forms.spaced([*_before(request), *tokens])
                may[row], may_end = self.vocabulary.allowed(matcher, spaced)
                may[row, ends] = may_end
        return np.where(may, logits, np.float32(-np.inf))

    def fits(self, tokens: Ids, before: Ids = ()) -> bool:
        """Whether what `tokens` (without an end) add to a text after ids `before` is whole."""
        matcher = self._after(before, tokens)
        return matcher is not None and bool(matcher.is_accepting())

    @property
    def least(self) -> int:
        """Tokens that any output needs at least: the fewest that spell how every output begins."""
        matcher = _library().LLMatcher
        begun = matcher(self.vocabulary.compiled, matcher.grammar_from_lark(self._lark), log_level=0)
        text, pieces = begun.compute_ff_bytes(), {data for data in self.vocabulary.tokens if data}
        longest = max(map(len, pieces))
        need = [0] * (len(text) + 1)  # for what follows each place; the last token may reach past what is certain
        for place in range(len(text) - 1, -1, -1):
            ends = (end for end in range(place + 1, min(place + longest, len(text) - 1) + 1) if text[place:end] in pieces)
            past = [0] if place + longest >= len(text) else []
            need[place] = 1 + min([*past, *(need[end] for end in ends)], default=len(text))
        return need[0]

    def _after(self, before: Ids, tokens: Ids) -> Any:
        """The matcher after `tokens`; None where they do not fit. Those given out are copied before they go on."""
        opened, whole = self.vocabulary.forms.spaced(before), tuple(tokens)
        done = next((n for n in range(len(whole), 0, -1) if (opened, whole[:n]) in self._known), 0)
        matcher = self._known[opened, whole[:done]] if done else self._start
        for place in range(done, len(whole)):
            matcher = self._next(matcher, whole[place], self.vocabulary.forms.spaced([*before, *whole[:place]]))
            if matcher is None:
                break
        self._known[opened, whole] = matcher
        self._known.move_to_end((opened, whole))
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return matcher

    def _next(self, matcher: Any, token: int, spaced: bool) -> Any:
        if not spaced and token in self.vocabulary.forms.silent:
            return matcher
        place = self.vocabulary.place(token, spaced)
        if matcher is None or not self.vocabulary.tokens[place] or not matcher.validate_tokens([place]):
            return None
        grown = matcher.deep_copy()
        if not grown.consume_token(place):
            raise UsageError(f"the output cannot be guided further: {_shortened(grown.get_error())}")
        return grown


def guide(options: GenerationOptions, vocabulary: Vocabulary, window: int) -> Guide:
    """The rule of the one of KINDS that is set. window: the decoder's. Raises UsageError as Guide does, and where the limit is
    too near."""
    kind = next(kind for kind in KINDS if getattr(options, kind))
    made = Guide(kind, getattr(options, kind), vocabulary)
    asked, least = options.max_new_tokens, made.least
    if asked != 0 and least > (window if asked is None else asked):
        limit, way = ("the model's window", "ask for less") if asked is None else ("max_new_tokens", "allow more")
        raise UsageError(f"{limit} is {asked or window}, but what fits this {kind} has at least {least} tokens"
                         f"{'' if least < 1000 else ', or never ends'}; {way}")
    return made


def is_guided(options: GenerationOptions) -> bool:
    return any(getattr(options, kind) for kind in KINDS)


def _before(request: Request) -> Ids:
    """What stands before the output: a prompt; of an encoder-decoder model nothing."""
    return () if len(request.source) else request.prompt


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise UsageError(f"guided output ({', '.join(KINDS)}) needs llguidance: pip install 'weft[guided]'") from error
    return llguidance


def _lark(kind: str, text: str, matcher: Any) -> str:
    """The option as a Lark grammar. Raises UsageError that says what is wrong and where."""
    make = {"json_schema": partial(matcher.grammar_from_json_schema, defaults=JSON), "regex": matcher.grammar_from_regex,
            "grammar": matcher.grammar_from_lark}
    try:
        schema = json.loads(text) if kind == "json_schema" else {}
    except ValueError as error:
        raise UsageError(f"json_schema is no JSON: {error}") from error
    if not isinstance(schema, dict) or not isinstance(schema.get("x-guidance", {}), dict):
        raise UsageError(f"json_schema is {text:.60}; it, and x-guidance in it, must be a table of keys")
    try:
        made = make[kind](text)
    except ValueError as error:
        raise UsageError(f"{kind} cannot be followed: {error}") from error
    fault = matcher.validate_grammar(made)
    if fault and not fault.startswith("WARNING"):
        raise UsageError(f"{kind} cannot be followed: {_shortened(fault)}")
    if kind == "json_schema":
        return "start: %json " + json.dumps(schema | {"x-guidance": JSON | schema.get("x-guidance", {})})
    return text if kind == "grammar" else str(json.loads(made)["grammars"][0]["lark_grammar"])


def _shortened(fault: str) -> str:
    """llguidance's message in a line: what is wrong, and the place, which it draws under the text."""
    drawn = re.search(r"regex parse error:\n    (.*)\n    ( *)\^+\nerror: (.*)", fault)
    if drawn:
        return f"{drawn[3]}, at character {len(drawn[2]) + 1} of {drawn[1]!r:.60}"
    placed = re.match(r"(?:at )?(\d+)\((\d+)\): (.*)", fault)
    if placed:
        return f"line {placed[1]}, column {placed[2]}: {placed[3]}"
    return fault.split("\n")[0]
