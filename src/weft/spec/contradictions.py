"""Options of decoding that do not go together: which two, and the way out. It knows their names and neutral values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from weft.spec.ranges import shown

if TYPE_CHECKING:
    from weft.spec.decoding import GenerationOptions

_WAYS = {"sample": ("sampling", "add sample=True (--sample)"), "beams": ("beams", "ask for 2 or more (--beams 4)"),
         "beam_groups": ("groups", "ask for 2 or more (--beam-groups 2)"), "mbr": ("mbr", "ask for candidates (--mbr 32)")}


def problems(options: GenerationOptions) -> Iterator[str]:
    """What contradicts, in words."""
    yield from _searches(options)
    for name, needed in idle(options, vars(options)):
        what, way = _WAYS[needed]
        yield f"{name}={_value(getattr(options, name))} does nothing without {what}; {way} or drop {name}"
    yield from _lengths(options)
    yield from _beams(options)
    yield from _choices_among_answers(options)
    guides = [name for name in ("json_schema", "regex", "grammar") if getattr(options, name)]
    if options.shortlist and guides:
        yield f"shortlist and {guides[0]} contradict each other: a list of likely words may lack what the {guides[0]} asks " \
              f"for; drop one of the two"


def idle(kind: Any, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(option, the one that it needs) of every option that would change nothing. kind: GenerationOptions; values: of its
    fields, those that are left out being neutral."""
    neutral = {option.name: option.default for option in fields(kind)}
    is_set = {name: values.get(name, default) != default for name, default in neutral.items()}
    for option in fields(kind):
        needed = option.metadata.get("needs")
        if needed and is_set[option.name] and not is_set[needed]:
            greedy = option.name == "temperature" and values["temperature"] == 0  # with or without sampling
            width = option.name == "top_k" and is_set["penalty_alpha"]  # of contrastive search
            if not greedy and not width:
                yield option.name, needed


def _searches(options: GenerationOptions) -> Iterator[str]:
    named = {"sample": options.sample, f"beams={options.beams}": options.beams > 1,
             f"penalty_alpha={options.penalty_alpha}": options.penalty_alpha > 0}
    searches = [name for name, is_set in named.items() if is_set]
    if len(searches) > 1:
        yield f"{searches[0]} and {searches[1]} contradict each other; drop one of the two"
    if options.penalty_alpha and options.top_k < 2:
        yield f"penalty_alpha={options.penalty_alpha} chooses among the top_k likeliest, but top_k is {options.top_k}; " \
              f"ask for 2 or more"
    for name in searches if not options.sample else ():
        if options.temperature == 0:
            yield f"temperature=0 and {name} contradict each other: temperature 0 is greedy search; drop one of the two"
        if options.lookup:
            yield f"lookup={options.lookup} and {name} contradict each other; guessing ahead goes with greedy search and " \
                  f"sampling"


def _lengths(options: GenerationOptions) -> Iterator[str]:
    least, most = options.min_new_tokens, options.max_new_tokens
    if most is not None and least > most:
        yield f"min_new_tokens {least} is above max_new_tokens {most}; ask for fewer at least, or for more at most"


def _beams(options: GenerationOptions) -> Iterator[str]:
    if options.n_best > options.beams:
        yield f"n_best is {options.n_best}, more than the {options.beams} beams; ask for at least as many beams"
    if options.beams % options.beam_groups:
        yield f"beams={options.beams} cannot be cut into {options.beam_groups} groups of one size; make beams a multiple"
    if options.beam_groups > 1 and options.forced_words:
        yield "beam_groups and forced_words contradict each other; drop one of the two"


def _choices_among_answers(options: GenerationOptions) -> Iterator[str]:
    guides = [name for name in ("json_schema", "regex", "grammar") if getattr(options, name)]
    if len(guides) > 1:
        yield f"{guides[0]} and {guides[1]} contradict each other; an output follows one of them"
    if options.best_of is not None and options.best_of < options.n:
        yield f"best_of is {options.best_of}, fewer than the n = {options.n} samples to keep; draw at least as many"
    if not options.mbr:
        return
    kept = "n" if options.sample else "n_best"
    if options.mbr == 1:
        yield "mbr is 1; a candidate needs others to be like: 2 or more, or 0 (off)"
    if not options.sample and options.beams < options.mbr:
        yield f"mbr={options.mbr} wants as many candidates, but there are {options.beams} beams; add sample=True (--sample) " \
              f"or ask for {options.mbr} beams or more"
    if getattr(options, kept) > options.mbr:
        yield f"{kept} is {getattr(options, kept)}, more than the mbr={options.mbr} candidates; ask for at least as many"
    if options.best_of is not None:
        yield f"best_of={options.best_of} and mbr={options.mbr} contradict each other; mbr says how many samples are drawn"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
