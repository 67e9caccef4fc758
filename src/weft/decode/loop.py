"""The only decoding loop: step the runner, let the strategy choose, reorder rows, yield events.

It knows no strategy's rules and no backend's insides. `prepare` gives a batch that stops before every step until somebody has
taken it: `generate` takes each at once, weft.decode.batcher those of many batches together. Streaming is the primitive;
`generate_batch` loops over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.decode.ahead import Ahead
from weft.decode.chain import Chain
from weft.decode.constraints import check
from weft.decode.processors import Processor
from weft.decode.rows import Request
from weft.decode.strategies import choose
from weft.decode.strategies.strategy import Batch, Stops, Strategy
from weft.errors import UsageError, WindowError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis
from weft.spec.runner import Runner, Step

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder

Ids = Sequence[int]
Items = Generator[GenerationEvent | Step, None, None]
"""Events of a batch and, between them, the steps that it waits for; each is to be taken before the next item is asked for."""


@dataclass(frozen=True)
class Prepared:
    """A batch that was checked, and decodes itself as `items` are asked for. requests: all draws of all inputs."""

    requests: Sequence[Request]
    items: Items


def generate(runner: Runner, sources: Sequence[Ids] | None, options: GenerationOptions, **given: Any
             ) -> Iterator[GenerationEvent]:
    """Decode a batch. given: what else `prepare` takes. Raises UsageError and WindowError at the first event."""
    for item in prepare(runner, sources, options, **given).items:
        if isinstance(item, Step):
            item.take()
        else:
            yield item


def prepare(runner: Runner, sources: Sequence[Ids] | None, options: GenerationOptions, *,
            prompts: Sequence[Ids] | None = None, seeds: Sequence[int] | None = None,
            streams: Sequence[int] | None = None, limits: Sequence[int] | None = None, steps: bool = True,
            stops: Stops | None = None, rules: Mapping[str, Processor] | None = None, draft: Runner | None = None,
            recorder: Recorder | None = None, strategy: type[Strategy] | None = None) -> Prepared:
    """A batch; requests are numbered as they stand in `sources` (or `prompts`, for a decoder-only model).

    seeds: one per request, instead of options.seed for all. streams: the number of each request among those of its
    seed, instead of its place in this batch (0 where seeds are given). limits: most new tokens per request, instead
    of options.max_new_tokens or the default that it names; 0 gives an empty hypothesis. steps: whether beam search
    yields StepEvents and TokenEvents. stops: what ends a text besides its end-of-sequence. rules: processors besides
    those of the options, by name. draft: a smaller model of the same ids, which guesses ahead; with one, or options.lookup,
    requests are decoded one after the other. recorder: is told of every step. strategy: instead of the one that the options
    ask for. Of several draws (options.n, best_of) only the FinishedEvent of each input comes.
    Raises UsageError and WindowError for what can be known before the first step.
    """
    inputs = _inputs(sources, prompts, seeds, streams, limits)
    _check_ids(runner, options)
    _check_draft(draft, options)
    draws = options.best_of or options.n
    requests = [Request(index * draws + draw, limit_of(runner, options, len(item), sources is None, limits, index),
                        options.seed if seeds is None else seeds[index],
                        streams[index] if streams is not None else index if seeds is None else 0,
                        source=() if sources is None else item,
                        prompt=item if sources is None else (runner.start_token,), draw=draw)
                for index, item in enumerate(inputs) for draw in range(draws)]
    if recorder is not None:
        runner = recorder.watch(runner, requests)
    batch = Batch(options, runner, requests, Chain(options, rules, recorder), stops, recorder=recorder)
    items = _all(batch, draft, steps, strategy)
    return Prepared(requests, items if draws == 1 else _best_draws(items, draws, options.n))


def _all(batch: Batch, draft: Runner | None, steps: bool, strategy: type[Strategy] | None) -> Items:
    """Items of requests that are decoded together, or one after the other where guesses run ahead."""
    for request in batch.requests:
        if request.limit == 0:
            yield FinishedEvent(request.index, (Hypothesis((), (), 0.0, "limit"),))
    batch = replace(batch, requests=[request for request in batch.requests if request.limit > 0])
    if not batch.requests:
        return
    check(batch.options, batch.ends, batch.requests)
    if draft is None and not batch.options.lookup:
        yield from _decode(batch, steps, strategy)
        return
    from weft.decode.guess import Draft, Lookup  # here, for plain decoding need not wait for them

    for request in batch.requests:
        one = replace(batch, requests=[request])
        guesser = Lookup(request, batch.options.lookup) if draft is None else Draft(replace(one, runner=draft))
        ahead = Ahead(batch.runner, guesser, request, batch.recorder)
        yield from _decode(replace(one, runner=ahead, ahead=ahead), steps)


def _decode(batch: Batch, steps: bool, strategy: type[Strategy] | None = None) -> Items:
    runner, chooser = batch.runner, choose(batch) if strategy is None else strategy(batch)
    chooser.reports_steps = steps
    if batch.recorder is not None:
        batch.recorder.begins(batch.requests)
    tokens = _start(runner, batch.requests, chooser)
    for number in itertools.count():
        step = Step(runner, tokens, chooser.best, batch.banned(number))
        yield step
        outcome = chooser.advance(number, step.answer())
        if batch.recorder is not None:
            batch.recorder.decided(outcome)
        yield from outcome.events
        if not len(outcome.tokens):
            return
        if not _is_identity(outcome.parents, len(tokens)):
            runner.gather(outcome.parents)
        tokens = outcome.tokens


def _best_draws(items: Items, draws: int, kept: int) -> Items:
    """Of each input's draws the `kept` best, once all have ended; nothing of those on their way."""
    found: dict[int, list[Hypothesis]] = {}
    for event in items:
        if isinstance(event, Step):
            yield event
        if isinstance(event, FinishedEvent):
            own = found.setdefault(event.request // draws, [])
            own += event.hypotheses
            if len(own) == draws:
                own.sort(key=lambda hypothesis: -hypothesis.score)
                yield FinishedEvent(event.request // draws, tuple(own[:kept]))


def generate_batch(runner: Runner, sources: Sequence[Ids] | None, options: GenerationOptions, **given: Any
                   ) -> list[tuple[Hypothesis, ...]]:
    """The hypotheses of every request, best first, in the order of the inputs. given: what else `generate` takes."""
    events = generate(runner, sources, options, steps=False, **given)
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


def _check_draft(draft: Runner | None, options: GenerationOptions) -> None:
    for name in ("lookup", "beams", "penalty_alpha"):
        value = getattr(options, name)
        if draft is not None and value > (name == "beams"):
            way = "guess ahead by one of the two" if name == "lookup" else "a draft goes with greedy search and sampling"
            raise UsageError(f"draft and {name}={value} contradict each other; {way}")


def _start(runner: Runner, requests: Sequence[Request], strategy: Strategy) -> np.ndarray:
    """Hand the batch to the runner, an input of many draws once; returns the first token of every row."""
    _, first, copies = np.unique([request.index - request.draw for request in requests], return_index=True,
                                 return_inverse=True)
    inputs, rows = [requests[place] for place in first], strategy.rows
    watch: dict[str, Any] = {"watch": True} if strategy.watches else {}  # runners without attention need not know it
    if len(inputs[0].source):
        runner.start(runner.encode([request.source for request in inputs]), rows, **watch)
    else:
        runner.start(None, rows, [list(request.prompt[:-1]) for request in inputs], **watch)
    if len(inputs) < len(requests):
        runner.gather(copies)
    return np.repeat(np.array([request.prompt[-1] for request in requests], dtype=np.int64), rows)


def room(window: int, read: int, options: GenerationOptions) -> int:
    """Most new tokens behind `read` others in a window: the last one is not read, but by contrastive search."""
    return window - read + (0 if options.penalty_alpha else 1)


def limit_of(runner: Runner, options: GenerationOptions, length: int, prompted: bool, limits: Sequence[int] | None = None,
             index: int = 0) -> int:
    """Most new tokens of one request: what is asked for, within the window. length: of its source or prompt.

    Raises WindowError, with the numbers, for what does not fit, and UsageError for a limit that cannot be.
    """
    asked, least = options.max_new_tokens if limits is None else limits[index], options.min_new_tokens
    most, held = room(runner.max_target, length if prompted else 1, options), f"the model's window of {runner.max_target}"
    prompt = f"a prompt of {length} tokens and " if prompted else ""
    if asked is not None and asked < 0:
        raise UsageError(f"request {index}: its limit is {asked} new tokens; it must be 0 or more")
    if asked == 0:
        return 0
    if most < 1:
        raise WindowError(f"request {index}: a prompt of {length} tokens leaves no room in {held}; shorten it by {1 - most} or "
                          f"more")
    if asked is None:
        asked = most if prompted else min(most, least + 2 * length + 10)
    elif asked > most:
        raise WindowError(f"request {index}: {prompt}{asked} new tokens do not fit {held}; ask for at most {most}")
    if asked < least:
        kind, held = (WindowError, held) if limits is None else (UsageError, f"its limit of {asked}")
        raise kind(f"request {index}: {prompt}at least {least} new tokens (min_new_tokens) do not fit {held}; ask for at most "
                   f"{asked}")
    return asked


def _is_identity(parents: np.ndarray, rows: int) -> bool:
    return parents.tolist() == list(range(rows))
