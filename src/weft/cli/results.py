"""A result as the command line tells it: as JSON, and its tokens with their log-probabilities line by line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from weft.model import Model, Result

LOGPROBS = """With --logprobs every text is followed by a line for each of its tokens: TAB, log-probability, TAB, token, and
for each of the likeliest in its place TAB, token, space, log-probability."""


def as_json(model: Model, result: Result, text: str = "completion") -> dict[str, Any]:
    """With the best first among the alternatives too. text: what its text is called."""
    said: dict[str, Any] = {
        text: result.text, "tokens": result.tokens, "logprobs": [round(value, 4) for value in result.logprobs],
        "score": round(result.score, 4), "ended": result.finished, "reason": result.reason}
    if result.top_logprobs:
        said["top_logprobs"] = [[{"id": token, "token": _word(model, token), "logprob": round(value, 4)}
                                 for token, value in step if math.isfinite(value)] for step in result.top_logprobs]
    if result.prompt_logprobs:
        said["prompt_logprobs"] = [round(value, 4) for value in result.prompt_logprobs]
    if result.alternatives:
        said["alternatives"] = [as_json(model, replace(one, alternatives=()), text) for one in result.alternatives]
    return said


def token_lines(model: Model, result: Result) -> Iterator[str]:
    """A line for each token, the end too, if the likeliest were asked for: LOGPROBS says how."""
    for part in result.parts or (result,):
        words = [_one_line(_word(model, token)) for token in part.tokens]
        words += ["(end)"] * (len(part.logprobs) - len(words))
        for word, log_prob, top in zip(words, part.logprobs, part.top_logprobs, strict=False):
            others = [f"{_one_line(_word(model, token))} {value:.4f}" for token, value in top if math.isfinite(value)]
            yield "\t".join(["", f"{log_prob:.4f}", word, *others])


def _word(model: Model, token: int) -> str:
    return model.tokenizer.tokens([token])[0]


def _one_line(word: str) -> str:
    return word if word.isprintable() else repr(word)[1:-1]
