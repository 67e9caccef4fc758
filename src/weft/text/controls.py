"""Special tokens in a text that a template wrote around what users wrote: the template's are tokens, the users' only text.

Special tokens that users spell are taken out before a template is rendered, with numbers in their place that nobody can
guess, and put back afterwards. In between, those that the template wrote get names that nobody can guess, and a copy of
the tokenizer knows its special tokens by these names alone. A text without special tokens is rendered as it is.

What cannot be told apart: a special token that a template puts together itself, of its own text and a user's, such as
'<|' + message.role + '|>'. Roles and names are the program's to choose; do not take them from users.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

import tokenizers

from weft.errors import TokenizerError
from weft.text.trainers import check_text


class Controls:
    """Of one tokenizer, by its JSON."""

    def __init__(self, tokenizer_json: str) -> None:
        state = json.loads(tokenizer_json)
        tokens = [token for token in state.get("added_tokens") or () if token["special"] and not token["content"].isspace()]
        self._places, self._names = _unguessable(), _unguessable()
        self._tokens = [token["content"] for token in tokens]
        longest = "|".join(map(re.escape, sorted(self._tokens, key=len, reverse=True))) or "(?!)"
        self._spelled, self._both = re.compile(longest), re.compile(f"{self._places}([0-9]{{6}})|({longest})")
        self._index = {token: index for index, token in enumerate(self._tokens)}
        self._hf = _renamed(state, {token: self._name(index) for token, index in self._index.items()},
                            {token["content"]: token["id"] for token in tokens})

    def hide(self, value: Any) -> Any:
        """A user's value, its strings at any depth without special tokens."""
        if isinstance(value, str):
            return self._spelled.sub(lambda found: f"{self._places}{self._index[found[0]]:06}", value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        return [self.hide(item) for item in value] if isinstance(value, (list, tuple)) else value

    def after(self, rendered: str, place: str) -> str | None:
        """The first special token that a template writes after `place`."""
        _, _, rest = rendered.partition(place)
        found = self._spelled.search(rest)
        return found[0] if found else None

    def encode(self, rendered: str) -> list[int]:
        """Ids of a text that was rendered with hidden values; nothing is added to it. Raises TokenizerError."""
        named = self._both.sub(lambda found: self._tokens[int(found[1])] if found[1] else self._name(self._index[found[2]]),
                               check_text(rendered))
        return self._hf.encode(named, add_special_tokens=False).ids

    def _name(self, index: int) -> str:
        return f"<{self._names}|{index:06}>"


def _unguessable() -> str:
    """Digits, so that no filter of a template changes them."""
    return f"{secrets.randbits(128):039}"


def _renamed(state: dict[str, Any], names: dict[str, str], ids: dict[str, int]) -> Any:
    """The library's tokenizer with its special tokens under other names. Raises TokenizerError if their ids would change."""
    model = state["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    for token in state.get("added_tokens") or ():
        token["content"] = names.get(token["content"], token["content"])
    state |= {"post_processor": None, "decoder": None, "truncation": None, "padding": None}
    try:
        hf = tokenizers.Tokenizer.from_str(json.dumps(state))
    except Exception as error:  # the library raises plain Exception for any fault in the JSON
        raise TokenizerError(f"the tokenizer's special tokens cannot be told from text: {error}") from error
    moved = [token for token, name in names.items() if hf.token_to_id(name) != ids[token]]
    if moved:
        raise TokenizerError(f"the tokenizer's special tokens cannot be told from text: {', '.join(moved[:5])} would have "
                             f"other ids")
    return hf
