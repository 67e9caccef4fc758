"""Constraints that cannot be met together, found before the first token (semantics 16)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from weft.decode.rows import Request
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions

Ids = Sequence[int]


def check(options: GenerationOptions, ends: Set[int], requests: Sequence[Request]) -> None:
    """Raises UsageError, which names two constraints, for requests that nothing could answer. ends: ids that end a text.

    What only turns up on the way, a token both forced and a repeated n-gram after this prompt, say, is an error then.
    """
    for problem in _problems(options, ends, requests):
        raise UsageError(problem)


def _problems(options: GenerationOptions, ends: Set[int], requests: Sequence[Request]) -> Iterator[str]:
    for name, row in _required(options):
        yield from _forbidden(name, row, options)
        inner = row[:-1] if name in ("forced_first", "forced_last") else row
        yield from (f"{name} holds token id {token}, which ends a text; leave it out" for token in inner if token in ends)
    if options.prefix and options.forced_first not in (None, options.prefix[0]):
        yield f"forced_first={options.forced_first} and a prefix that begins with {options.prefix[0]} contradict each other; " \
              f"drop one of the two"
    if options.suffix and options.forced_last is not None and options.forced_last not in ends:
        yield f"forced_last={options.forced_last} and suffix contradict each other; a text with a suffix ends after it"
    if options.forced_first in ends and options.min_new_tokens:
        yield f"forced_first={options.forced_first} ends a text, but min_new_tokens is {options.min_new_tokens}; " \
              f"drop one of the two"
    for request in requests:
        yield from (f"request {request.index}: {problem}" for problem in _too_short(options, ends, request.limit))


def _required(options: GenerationOptions) -> Iterator[tuple[str, Ids]]:
    """Rows of ids that an output must hold, by option."""
    for name in ("prefix", "suffix"):
        if row := getattr(options, name):
            yield name, row
    for name in ("forced_first", "forced_last"):
        if (token := getattr(options, name)) is not None:
            yield name, (token,)
    for word in options.forced_words:
        yield "forced_words", word


def _forbidden(name: str, row: Ids, options: GenerationOptions) -> Iterator[str]:
    """Why a required row can never come."""
    bans = {"banned": options.banned, "logit_bias": [token for token, bias in options.logit_bias if bias == float("-inf")]}
    for other, tokens in bans.items():
        yield from (f"{name} holds token id {token}, which {other} forbids; drop one of the two"
                    for token in row if token in tokens)
    for word in options.banned_words:
        if tuple(word) in _runs(row, len(word)):
            yield f"{name} holds the banned word {tuple(word)}; drop one of the two"
    size = options.no_repeat_ngram
    runs = _runs(row, size) if size else []
    if len(set(runs)) < len(runs):
        yield f"{name} holds the same {size} tokens twice, which no_repeat_ngram={size} forbids; drop one of the two"


def _runs(row: Ids, size: int) -> list[tuple[int, ...]]:
    return [tuple(row[start : start + size]) for start in range(len(row) - size + 1)]


def _too_short(options: GenerationOptions, ends: Set[int], limit: int) -> Iterator[str]:
    """What does not fit into `limit` new tokens."""
    parts = {"prefix": len(options.prefix), "suffix": len(options.suffix), "the end": 1 if options.suffix else 0}
    needed = sum(parts.values())
    if needed > limit:
        held = ", ".join(f"{name} ({count})" for name, count in parts.items() if count)
        yield f"{held} take {needed} tokens, but max_new_tokens is {limit}; ask for {needed} or more"
    forced_end = options.suffix or options.forced_last in ends
    if forced_end and options.min_new_tokens >= limit:
        name = "suffix" if options.suffix else f"forced_last={options.forced_last}"
        yield f"{name} needs an end, but min_new_tokens is {options.min_new_tokens} of at most {limit} new tokens; " \
              f"ask for fewer, or a higher max_new_tokens"
    first = options.prefix or (() if options.forced_first is None else (options.forced_first,))
    if options.forced_last is not None and len(first) == limit and first[-1] != options.forced_last:
        name = "prefix" if options.prefix else "forced_first"
        yield f"{name} and forced_last={options.forced_last} both say what token {limit} is; ask for more new tokens"
