"""Scoring given outputs: what a model would report, had it generated these tokens. One pass reads a whole batch.

A coverage penalty goes by the attention of every step, so with one the targets are read once more, step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from weft.decode.best import best_of
from weft.decode.chain import Chain
from weft.decode.loop import limit_of
from weft.decode.processors import Processor
from weft.decode.rows import Request, Rows
from weft.decode.strategies.beam import coverage_score
from weft.decode.strategies.single import length_penalty, tops_of
from weft.decode.strategies.strategy import Batch
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis, Top
from weft.spec.runner import Runner

Ids = Sequence[int]
NUMBERS = 1 << 25
"""Logits held at a time."""
ROWS = 128
"""Targets that are read step by step together."""
CHUNK = 64
"""Positions whose probabilities are made together where no rule looks at what came before."""


def score(runner: Runner, sources: Sequence[Ids] | None, targets: Sequence[Ids], options: GenerationOptions, *,
          prompts: Sequence[Ids] | None = None, rules: Mapping[str, Processor] | None = None) -> list[Hypothesis]:
    """A Hypothesis of each target: `log_probs` and `score` are what generating it with these options reports.

    sources, or prompts of a decoder-only model, one for each target. A target holds the ids to be scored, and its
    end-of-sequence if that counts. A token that is banned, or that a rule forbids, has log-probability -inf. Raises UsageError
    for options whose scores depend on other hypotheses.
    """
    if options.diversity:
        raise UsageError(f"diversity={options.diversity} takes from a hypothesis what others have chosen, and scoring knows of "
                         f"no others; leave it out")
    inputs = sources if sources is not None else prompts or []
    requests = [Request(index, max(len(target), limit_of(runner, options, len(given), sources is None)),
                        source=() if sources is None else given, prompt=given if sources is None else (runner.start_token,))
                for index, (given, target) in enumerate(zip(inputs, targets, strict=True))]
    batch = Batch(options, runner, requests, Chain(options, rules))
    coverage = _coverage(runner, requests, sources, targets, options) if options.coverage_penalty else [0.0] * len(requests)
    found: dict[int, Hypothesis] = {}
    for request, logits in _logits(runner, requests, sources, targets):
        target = np.asarray(targets[request.index], np.int64)
        log_probs, tops = _log_probs(batch, request, logits, target)
        total = float(log_probs.sum(dtype=np.float64)) / length_penalty(max(1, len(target)), options)
        total += coverage[request.index]
        ended = len(target) and int(target[-1]) in batch.ends
        found[request.index] = Hypothesis(tuple(target.tolist()), tuple(log_probs.tolist()), total, "end" if ended else "limit",
                                          tops)
    return [found[index] for index in range(len(requests))]


def _logits(runner: Runner, requests: Sequence[Request], sources: Sequence[Ids] | None,
            targets: Sequence[Ids]) -> Iterator[tuple[Request, np.ndarray]]:
    """Each request with the logits [T, V] of its target's T tokens; alike lengths are read together."""
    rows = [[*request.prompt, *target][:-1] for request, target in zip(requests, targets, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    while order:
        size = max(1, NUMBERS // max(1, runner.vocabulary_size * len(rows[order[-1]])))
        chosen, order = [i for i in order[-size:] if len(targets[i])], [*order[:-size]]
        given = None if sources is None else [sources[i] for i in chosen]
        found = runner.logits(given, [rows[i] for i in chosen]) if chosen else ()
        for i, logits in zip(chosen, found, strict=True):
            first = len(requests[i].prompt) - 1
            yield requests[i], logits[first : first + len(targets[i])]
    yield from ((request, np.empty((0, runner.vocabulary_size), np.float32))
                for request, target in zip(requests, targets, strict=True) if not len(target))


def _coverage(runner: Runner, requests: Sequence[Request], sources: Sequence[Ids] | None, targets: Sequence[Ids],
              options: GenerationOptions) -> list[float]:
    """What the coverage penalty adds to the score of each target."""
    found: list[float] = []
    for start in range(0, len(requests), ROWS):
        part = requests[start : start + ROWS]
        if sources is None:
            raise UsageError(f"coverage_penalty={options.coverage_penalty} goes by what a decoder attends to in a source, and "
                             f"decoder-only models have none; leave it out")
        lengths = [len(target) for target in targets[start : start + ROWS]]
        received = _received(runner, part, lengths, [[*request.prompt, *targets[request.index]] for request in part])
        found += [coverage_score(seen, options.coverage_penalty) if length else 0.0
                  for seen, length in zip(received, lengths, strict=True)]
    return found


def _received(runner: Runner, requests: Sequence[Request], lengths: Sequence[int], rows: Sequence[Ids]) -> list[np.ndarray]:
    """Attention that each source's tokens received while the first `lengths` tokens of its row were read, float32 [S]."""
    runner.start(runner.encode([request.source for request in requests]), 1, watch=True)
    received = [np.zeros(len(request.source), np.float32) for request in requests]
    for step in range(max(lengths)):
        runner.step(np.array([row[min(step, len(row) - 1)] for row in rows]), best=1)
        for length, seen, so_far in zip(lengths, runner.attention(), received, strict=True):
            if step < length:
                so_far += seen[: len(so_far)]
    return received


def _log_probs(batch: Batch, request: Request, logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, tuple[Top, ...]]:
    """float32 [T], and the likeliest tokens at each place if they are asked for."""
    found, tops, count = np.empty(len(target), np.float32), [], batch.options.logprobs
    step = 0
    while step < len(target):
        alike = 1 if batch.chain.needs_logits or step < batch.options.min_new_tokens else CHUNK
        rows = Rows([request], target[None, :step], batch.ends)
        chosen = target[step : step + alike]
        log_probs = batch.chain.log_probs(logits[step : step + alike], rows, batch.banned(step))
        found[step : step + alike] = log_probs[np.arange(len(chosen)), chosen]
        if count:
            tops += tops_of(best_of(log_probs, count), count, len(chosen))
        step += alike
    return found, tuple(tops)
