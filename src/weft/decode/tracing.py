"""A trace as a user gets it: what the recorder saw, with the words of its tokens and the options in force."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from weft.decode.inputs import row_of
from weft.decode.strategies import name_of
from weft.errors import UsageError
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.decoding_trace import DecodingTrace, RequestTrace
from weft.spec.ranges import Range, check_number, shown
from weft.text import Tokenizer


def check_selection(config: c.ModelConfig, candidates: int, layers: Sequence[int] | None, heads: Sequence[int] | None) -> None:
    """Raises UsageError for layers or heads that no stack of the model has."""
    check_number("candidates", candidates, int, Range(1), 10)
    stacks = [stack for stack in (config.encoder, config.decoder) if stack is not None]
    most = {"layers": max(stack.layers for stack in stacks),
            "heads": max(stack.attention.heads if isinstance(stack, c.TransformerStack) else 1 for stack in stacks)}
    for name, wanted in (("layers", layers), ("heads", heads)):
        if wanted is None:
            continue
        bad = [number for number in row_of(wanted, name) if not 0 <= number < most[name]]
        if bad:
            raise UsageError(f"{name} holds {shown(bad[0])}; this model's {name} run from 0 to {most[name] - 1}")


def changed(options: GenerationOptions) -> dict[str, Any]:
    """The options that are not at their defaults."""
    return {option.name: getattr(options, option.name) for option in dataclasses.fields(options)
            if getattr(options, option.name) != option.default}


def described(model: str, config: c.ModelConfig, tokenizer: Tokenizer, options: GenerationOptions,
              requests: Sequence[RequestTrace], draft: str = "") -> DecodingTrace:
    """The whole trace, with what each token adds to a text."""
    rows = [np.asarray(row, np.int64).ravel() for request in requests for row in _ids(request)]
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *rows]))
    return DecodingTrace(model, config.kind, name_of(options), changed(options), _pieces(tokenizer, ids[ids >= 0].tolist()),
                         tuple(requests), draft)


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> dict[int, str]:
    """What each token adds to the text, spaces as `▁`; as the vocabulary spells it where only the library knows more."""
    if not tokenizer.spells:
        return dict(zip(ids, tokenizer.tokens(ids), strict=True))
    return {token: tokenizer.bytes_of(token, skip_special=False).decode("utf-8", "backslashreplace").replace(" ", "▁")
            for token in ids}


def _ids(request: RequestTrace) -> Iterator[Sequence[int] | np.ndarray]:
    """Every token id that a request's trace speaks of, and -1."""
    yield from (request.source, request.prompt)
    yield from (result.tokens for result in request.results)
    yield from (one.tokens for one in request.guesses)
    for step in request.steps:
        yield from (step.continuations.tokens, step.candidates)
