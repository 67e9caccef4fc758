"""The only decoding loop: step the runner, let the strategy choose, reorder rows, yield events.

It knows no strategy's rules and no backend's insides. Streaming is the primitive; `generate_batch` loops over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from weft.decode.chain import Chain
from weft.decode.constraints import check
from weft.decode.processors import Processor
from weft.decode.rows import Request
from weft.decode.strategies import choose
from weft.decode.strategies.strategy import Batch, Stops
from weft.errors import UsageError, WindowError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis
from weft.spec.runner import Runner

Ids = Sequence[int]


def generate(runner: Runner, sources: Sequence[Ids] | None, options: GenerationOptions, *,
             prompts: Sequence[Ids] | None = None, seeds: Sequence[int] | None = None,
             streams: Sequence[int] | None = None, limits: Sequence[int] | None = None, steps: bool = True,
             stops: Stops | None = None, rules: Mapping[str, Processor] | None = None) -> Iterator[GenerationEvent]:
    """Decode a batch; requests are numbered as they stand in `sources` (or `prompts`, for a decoder-only model).

    seeds: one per request, instead of options.seed for all. streams: the number of each request among those of its
    seed, instead of its place in this batch (0 where seeds are given). limits: most new tokens per request, instead
    of options.max_new_tokens or the default that it names; 0 gives an empty hypothesis. steps: whether beam search
    yields StepEvents. stops: what ends a text besides its end-of-sequence. rules: processors besides those of the
    options, by name. Raises UsageError and WindowError at the first event.
    """
    inputs = _inputs(sources, prompts, seeds, streams, limits)
    _check_ids(runner, options)
    requests = [Request(index, _limit(runner, options, len(item), sources is None, limits, index),
                        options.seed if seeds is None else seeds[index],
                        streams[index] if streams is not None else index if seeds is None else 0,
                        source=() if sources is None else item,
                        prompt=item if sources is None else (runner.start_token,))
                for index, item in enumerate(inputs)]
    for request in requests:
        if request.limit == 0:
            yield FinishedEvent(request.index, (Hypothesis((), (), 0.0, "limit"),))
    requests = [request for request in requests if request.limit > 0]
    if not requests:
        return
    batch = Batch(options, runner, requests, Chain(options, rules), stops)
    check(options, batch.ends, requests)
    strategy = choose(batch)
    strategy.reports_steps = steps
    chosen = [inputs[request.index] for request in requests]
    tokens = _start(runner, chosen, strategy.rows, prompted=sources is None)
    for step in range(max(request.limit for request in requests)):
        outcome = strategy.advance(step, runner.step(tokens, strategy.best, batch.banned(step)))
        yield from outcome.events
        if not len(outcome.tokens):
            return
        if not _is_identity(outcome.parents, len(tokens)):
            runner.gather(outcome.parents)
        tokens = outcome.tokens


def generate_batch(runner: Runner, sources: Sequence[Ids] | None, options: GenerationOptions, *,
                   prompts: Sequence[Ids] | None = None, seeds: Sequence[int] | None = None,
                   streams: Sequence[int] | None = None, limits: Sequence[int] | None = None,
                   stops: Stops | None = None, rules: Mapping[str, Processor] | None = None) -> list[tuple[Hypothesis, ...]]:
    """The hypotheses of every request, best first, in the order of the inputs."""
    events = generate(runner, sources, options, prompts=prompts, seeds=seeds, streams=streams, limits=limits, steps=False,
                      stops=stops, rules=rules)
    found = {event.request: event.hypotheses for event in events if isinstance(event, FinishedEvent)}
    return [found[index] for index in sorted(found)]


def _inputs(sources: Sequence[Ids] | None, prompts: Sequence[Ids] | None, *per_request: Sequence[int] | None
            ) -> Sequence[Ids]:
    if (sources is None) == (prompts is None):
        raise UsageError("decoding takes either sources (encoder-decoder) or prompts (decoder-only), not both or neither")
    inputs = sources if sources is not None else prompts or []
    for values in per_request:
        if values is not None and len(values) != len(inputs):
            raise UsageError(f"{len(inputs)} inputs, but {len(values)} seeds, streams or limits; give one for each")
    empty = [index for index, item in enumerate(inputs) if not len(item)]
    if empty:
        raise UsageError(f"input {empty[0]} has no tokens; a source needs its end-of-sequence at least, a prompt a token")
    return inputs


def _check_ids(runner: Runner, options: GenerationOptions) -> None:
    named = {"banned": options.banned, "eos": options.eos, "prefix": options.prefix, "suffix": options.suffix,
             "logit_bias": [token for token, _ in options.logit_bias],
             "banned_words": [token for word in options.banned_words for token in word],
             "forced_words": [token for word in options.forced_words for token in word],
             "forced_first": [] if options.forced_first is None else [options.forced_first],
             "forced_last": [] if options.forced_last is None else [options.forced_last]}
    for name, ids in named.items():
        outside = [token for token in ids if not 0 <= token < runner.vocabulary_size]
        if outside:
            raise UsageError(f"{name} holds token id {outside[0]}; ids run from 0 to {runner.vocabulary_size - 1}")
    if len({*options.banned, *options.eos, runner.eos}) >= runner.vocabulary_size:
        raise UsageError(f"{len(set(options.banned))} of {runner.vocabulary_size} tokens are banned; nothing is left to "
                         f"generate but the end")


def _start(runner: Runner, inputs: Sequence[Ids], rows: int, prompted: bool) -> np.ndarray:
    """Hand the batch to the runner; returns the first token of every row."""
    if not prompted:
        runner.start(runner.encode(inputs), rows)
        return np.full(len(inputs) * rows, runner.start_token, dtype=np.int64)
    runner.start(None, rows, [list(prompt[:-1]) for prompt in inputs])
    return np.repeat(np.array([prompt[-1] for prompt in inputs], dtype=np.int64), rows)


def _limit(runner: Runner, options: GenerationOptions, length: int, prompted: bool, limits: Sequence[int] | None,
           index: int) -> int:
    """Most new tokens of one request: what is asked for, within the window."""
    room = runner.max_target - (length - 1 if prompted else 0)
    asked = options.max_new_tokens if limits is None else limits[index]
    if asked is not None and asked < 0:
        raise UsageError(f"request {index}: its limit is {asked} new tokens; it must be 0 or more")
    if room < 1 and asked != 0:
        raise WindowError(f"request {index}: a prompt of {length} tokens leaves no room in the model's window of "
                          f"{runner.max_target}; shorten it by {1 - room} or more")
    if asked is None:
        return max(0, room if prompted else min(room, options.min_new_tokens + 2 * length + 10))
    if asked > room:
        prompt = f"a prompt of {length} tokens and " if prompted else ""
        raise WindowError(f"request {index}: {prompt}{asked} new tokens do not fit the model's window of "
                          f"{runner.max_target}; ask for at most {max(room, 0)}")
    return asked


def _is_identity(parents: np.ndarray, rows: int) -> bool:
    return len(parents) == rows and bool((parents == np.arange(rows)).all())
