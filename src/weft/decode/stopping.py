"""Stop strings for the loop, which knows ids only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from weft.decode.rows import Ids, Request
from weft.text import Tokenizer
from weft.text.stops import first_stop, may_complete

SILENT = 16
"""Tokens at the end of a text that may add no byte to it."""


class StopStrings:
    """Whether what a request has generated holds one of `stops`. generated: (prompt, ids) -> the text of the ids."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], generated: Callable[[Ids, Ids], str]) -> None:
        self._tokenizer, self._stops, self._generated = tokenizer, stops, generated
        self._reach = max(len(stop.encode()) for stop in stops) + SILENT
        self.may_end: Callable[[int], bool] = cache(lambda token: may_complete(tokenizer, stops, token))
        """Whether a text may be over with this token, as far as the token tells."""

    def __call__(self, request: Request, tokens: Ids) -> bool:
        if not self.may_end(tokens[-1]):  # a stop that came before has ended the text
            return False
        if first_stop(self._tokenizer.decode([*request.prompt, *tokens][-self._reach :]), self._stops) is None:
            return False
        return first_stop(self._generated(request.prompt, tokens), self._stops) is not None
