"""What a caller can ask of decoding. No torch, no arrays. What each option means is numbered in docs/decoding.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from weft.errors import UsageError

EarlyStopping = Literal["exact", "heuristic", "first"]
LengthFormula = Literal["wu", "average"]
BeamScores = Literal["renormalised", "raw"]
Utility = Literal["chrf", "bleu"]


@dataclass(frozen=True)
class Range:
    """An interval of numbers; `above` and `below` leave its ends out."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and (value < self.high if self.below
                                                                            else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:g}"
        if self.high == math.inf:
            return low if self.above else f"{low} or more"
        return f"{low} to {'below ' if self.below else ''}{self.high:g}"


COUNT, POSITIVE, SHARE, FACTOR = Range(0), Range(1), Range(0, 1), Range(0, 100, above=True)


def _option(default: Any, help: str, within: Range | None = None, **metadata: Any) -> Any:
    """within: what a number must be. needs: the option without which this one does nothing. group: heading of this option
    and those that follow. metavar: what a value is called on the command line."""
    said = f"{help} ({within})" if within else help
    return field(default=default, metadata={"help": said, "within": within, **metadata})


@dataclass(frozen=True)
class GenerationOptions:
    """How to decode. Command-line flags, request fields and docs derive from these fields.

    Without any of them decoding is greedy. `sample` draws, `beams` above 1 is beam search, `penalty_alpha` contrastive
    search; two of these at once are refused, as is every option that would do nothing.
    """

    beams: int = _option(1, "live hypotheses of beam search; 1 is greedy; a bundle has its own default", Range(1, 64),
                         group="search")
    n_best: int = _option(1, "results a source, best first; at most beams", Range(1, 64))
    length_penalty: float = _option(1.0, "alpha of the length penalty; 0 is none, higher favours longer", Range(-5, 5))
    length_formula: LengthFormula = _option("wu", "((5+n)/6)**alpha (wu, Wu et al. 2016) or n**alpha (average)",
                                            choices=get_args(LengthFormula))
    early_stopping: EarlyStopping = _option("exact", "when a beam is done: exact, heuristic or first (semantics 7)",
                                            choices=get_args(EarlyStopping))
    beam_groups: int = _option(1, "groups that the beams are cut into, each kept unlike those before (Vijayakumar et al. 2016)",
                               Range(1, 64))
    diversity: float = _option(0.0, "taken from a token's score for each hypothesis of earlier groups that chose it",
                               Range(0, 100), needs="beam_groups")
    coverage_penalty: float = _option(0.0, "beta of the coverage penalty: beta * sum over the source of log(min(attention "
                                           "received, 1)) (Wu et al. 2016, equation 14)", Range(0, 10), needs="beams")
    forced_words: tuple[tuple[int, ...], ...] = _option(
        (), "words, or rows of token ids, that must appear (Post and Vilar 2018)", needs="beams", words=True,
        metavar="TEXT")
    penalty_alpha: float = _option(0.0, "contrastive search among the top_k: (1 - alpha) p - alpha * likeness to what is there "
                                        "(Su et al. 2022)", SHARE)

    max_new_tokens: int | None = _option(
        None, "most tokens to generate; default: what the window holds, after a source at most 2 x source + 10 above "
              "min_new_tokens", COUNT,
        group="length and ends")
    min_new_tokens: int = _option(0, "fewest tokens before the end may come", COUNT)
    eos: tuple[int, ...] = _option((), "tokens, or their ids, that end a text, besides the model's own end-of-sequence",
                                   metavar="TOKEN")
    stop: tuple[str, ...] = _option((), "texts that end generation where they appear; they are left out", metavar="TEXT")

    banned: tuple[int, ...] = _option((), "tokens, or their ids, that are never generated", metavar="TOKEN",
                                      group="what may be chosen")
    banned_words: tuple[tuple[int, ...], ...] = _option((), "words, or rows of token ids, that never appear", words=True,
                                                        metavar="TEXT")
    logit_bias: tuple[tuple[int, float], ...] = _option((), "a token, or its id, and what is added to its logit",
                                                        metavar="TOKEN=X")
    prefix: tuple[int, ...] = _option((), "what the output begins with, a text or token ids", text=True, metavar="TEXT")
    suffix: tuple[int, ...] = _option((), "what the output ends with, a text or token ids", text=True, metavar="TEXT")
    forced_first: int | None = _option(None, "the first generated token, or its id, such as that of a language",
                                       metavar="TOKEN")
    forced_last: int | None = _option(None, "the token at the length limit, or its id, such as end-of-sequence",
                                      metavar="TOKEN")
    repetition_penalty: float = _option(1.0, "logits of tokens that are there already are divided by this, or multiplied if "
                                             "below 0 (Keskar et al. 2019)", FACTOR)
    encoder_repetition_penalty: float = _option(1.0, "as repetition_penalty, the other way: above 1 favours tokens of the "
                                                     "source or prompt", FACTOR)
    presence_penalty: float = _option(0.0, "taken from the logit of every token generated before", Range(-100, 100))
    frequency_penalty: float = _option(0.0, "taken from a token's logit once for each time it was generated", Range(-100, 100))
    no_repeat_ngram: int = _option(0, "no run of this many tokens comes twice; 0 is off", COUNT)
    encoder_no_repeat_ngram: int = _option(0, "no run of this many tokens of the source comes; 0 is off", COUNT)
    json_schema: str = _option("", "a JSON schema that the output fits, as JSON (needs weft[guided])")
    regex: str = _option("", "a regular expression that the output matches (needs weft[guided])")
    grammar: str = _option("", "a Lark grammar that the output is derived from (needs weft[guided])")

    sample: bool = _option(False, "draw tokens at random instead of taking the best", group="sampling")
    temperature: float = _option(1.0, "divide the logits by this before sampling; 0 is greedy (Ackley et al. 1985)",
                                 Range(0, 100), needs="sample")
    top_k: int = _option(0, "sample among the k likeliest tokens only; 0 is off (Fan et al. 2018)", COUNT, needs="sample")
    top_p: float = _option(1.0, "sample among the likeliest tokens whose probabilities reach p; 1 is off (Holtzman et al. "
                                "2019)", Range(0, 1, above=True), needs="sample")
    min_p: float = _option(0.0, "drop tokens less likely than p times the likeliest; 0 is off (Nguyen et al. 2024)", SHARE,
                           needs="sample")
    typical_p: float = _option(1.0, "sample among the tokens whose surprise is nearest the mean, up to mass p; 1 is off "
                                    "(Meister et al. 2022)", Range(0, 1, above=True), needs="sample")
    epsilon_cutoff: float = _option(0.0, "drop tokens less likely than this; 0 is off (Hewitt et al. 2022)",
                                    Range(0, 1, below=True), needs="sample")
    eta_cutoff: float = _option(0.0, "drop tokens less likely than min(eta, sqrt(eta) exp(-entropy)); 0 is off (Hewitt et al. "
                                     "2022)", Range(0, 1, below=True), needs="sample")
    top_n_sigma: float = _option(0.0, "drop tokens whose logit is more than n standard deviations below the best; 0 is off "
                                      "(Tang et al. 2024)", Range(0, 100), needs="sample")
    seed: int = _option(0, "seed of the random draws", COUNT)
    n: int = _option(1, "samples an input", Range(1, 256), needs="sample")
    best_of: int | None = _option(None, "samples drawn an input, of which the n with the best scores are kept; default: n",
                                  Range(1, 256), needs="sample")

    logprobs: int = _option(0, "log-probabilities of this many of the likeliest tokens at every step", Range(0, 100),
                            group="what is told besides")
    prompt_logprobs: bool = _option(False, "log-probabilities of the tokens of a prompt too (decoder-only)")

    lookup: int = _option(0, "guess ahead by looking up the last tokens in the input: most tokens a guess; 0 is off; one "
                             "input at a time; the result is the same, sooner (Saxena 2023)", Range(0, 64),
                          group="other ways to the same, or to a better choice")
    draft_tokens: int = _option(4, "tokens that a draft model guesses ahead, where one is given (Leviathan et al. 2023)",
                                Range(1, 64))
    mbr: int = _option(0, "choose the candidate most like this many others, n-best or samples; 0 is off (Eikema and Aziz 2020)",
                       Range(0, 256))
    mbr_utility: Utility = _option("chrf", "likeness that mbr goes by: chrf or bleu of sentences", choices=get_args(Utility),
                                   needs="mbr")

    order: tuple[str, ...] = _option((), "processors that take each other's places so as to run in this order", cli=False,
                                     group="semantics that tools differ in; presets set them")
    beam_scores: BeamScores = _option("renormalised", "a beam's log-probabilities: of the logits that rules have changed "
                                      "(renormalised), or the model's own, changed after (raw)", choices=get_args(BeamScores))

    def __post_init__(self) -> None:
        for option in fields(self):
            _check_value(option.name, getattr(self, option.name), option)
        for problem in self._contradictions():
            raise UsageError(problem)

    @property
    def candidates(self) -> GenerationOptions:
        """What brings the candidates that minimum Bayes risk chooses among: these options without it."""
        if not self.mbr:
            return self
        return replace(self, mbr=0, mbr_utility="chrf", n=self.mbr if self.sample else 1,
                       n_best=1 if self.sample else self.mbr)

    @property
    def needs_whole(self) -> str:
        """The option that chooses among whole answers, so that nothing can be streamed; empty if there is none."""
        return next((name for name in ("mbr", "best_of", "n") if (getattr(self, name) or 0) > 1), "")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random: sampling at temperature 0 is greedy."""
        return self.sample and self.temperature > 0

    def _contradictions(self) -> Iterator[str]:
        """Which two options do not go together, and the way out."""
        searches = [f"{name}={getattr(self, name)}" for name in ("beams", "penalty_alpha") if self._is_set(name)]
        if self.sample:
            searches.insert(0, "sample")
        if len(searches) > 1:
            yield f"{searches[0]} and {searches[1]} contradict each other; drop one of the two"
        if self.n_best > max(self.beams, 1):
            yield f"n_best is {self.n_best}, more than the {self.beams} beams; ask for at least as many beams"
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            yield f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}"
        for option in fields(self):
            needed = option.metadata.get("needs")
            if needed and self._is_set(option.name) and not self._is_set(needed) and not self._serves_elsewhere(option.name):
                yield _does_nothing(option.name, getattr(self, option.name), needed)
        yield from self._search_problems()
        guides = [name for name in ("json_schema", "regex", "grammar") if getattr(self, name)]
        if len(guides) > 1:
            yield f"{guides[0]} and {guides[1]} contradict each other; an output follows one of them"
        if self.best_of is not None and self.best_of < self.n:
            yield f"best_of is {self.best_of}, fewer than the n = {self.n} samples to keep; draw at least as many"
        if self.mbr:
            yield from self._mbr_problems()

    def _search_problems(self) -> Iterator[str]:
        if self.beams % self.beam_groups:
            yield f"beams={self.beams} cannot be cut into {self.beam_groups} groups of one size; make beams a multiple"
        if self.beam_groups > 1 and self.forced_words:
            yield "beam_groups and forced_words contradict each other; drop one of the two"
        if self.penalty_alpha and self.top_k < 2:
            yield f"penalty_alpha={self.penalty_alpha} chooses among the top_k likeliest, but top_k is {self.top_k}; " \
                  f"ask for 2 or more"
        if self.lookup and (self.beams > 1 or self.penalty_alpha):
            other = "penalty_alpha" if self.penalty_alpha else f"beams={self.beams}"
            yield f"lookup={self.lookup} and {other} contradict each other; guessing ahead goes with greedy search and sampling"

    def _mbr_problems(self) -> Iterator[str]:
        kept = "n" if self.sample else "n_best"
        if self.mbr == 1:
            yield "mbr is 1; a candidate needs others to be like: 2 or more, or 0 (off)"
        if not self.sample and self.beams < self.mbr:
            yield f"mbr={self.mbr} wants as many candidates, but there are {self.beams} beams; add sample=True (--sample) or " \
                  f"ask for {self.mbr} beams or more"
        if getattr(self, kept) > self.mbr:
            yield f"{kept} is {getattr(self, kept)}, more than the mbr={self.mbr} candidates; ask for at least as many"
        if self.best_of is not None:
            yield f"best_of={self.best_of} and mbr={self.mbr} contradict each other; mbr says how many samples are drawn"

    def _is_set(self, name: str) -> bool:
        value = getattr(self, name)
        default = next(option.default for option in fields(self) if option.name == name)
        return bool(value != default)

    def _serves_elsewhere(self, name: str) -> bool:
        """temperature 0 is greedy with or without sampling; top_k is also the width of contrastive search."""
        return (name == "temperature" and self.temperature == 0) or (name == "top_k" and self.penalty_alpha > 0)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _check_value(name: str, value: Any, option: Any) -> None:
    """Raises UsageError for a value of the wrong type or out of its range."""
    metadata, within = option.metadata, option.metadata.get("within")
    if value is None and option.default is None:
        return
    if isinstance(option.default, tuple):
        _check_rows(name, value, metadata)
        return
    choices = metadata.get("choices")
    if choices:
        if value not in choices:
            raise UsageError(f"{name} is {value!r}; it must be {_either(choices)}")
        return
    kind = int if option.default is None else type(option.default)
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{name} is {value!r}; it must be {_KINDS[kind]}{f', {within}' if within else ''}")
    if within and value not in within:
        way_out = " (0 is greedy)" if name == "temperature" and value < 0 else ""
        raise UsageError(f"{name} is {value}; it must be {within}{way_out}")


def _check_rows(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if not isinstance(value, tuple):
        raise UsageError(f"{name} is {value!r:.60}; it must be a list")
    if any(item in ("", ()) for item in value):
        raise UsageError(f"{name} holds an empty {'text' if '' in value else 'row'}; leave it out")
    fits, kind = _ITEMS.get("words" if metadata.get("words") else name, (_is_id, "token ids"))
    for item in value:
        if not fits(item):
            raise UsageError(f"{name} holds {item!r:.60}; it takes {kind}")


def _is_id(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _is_word(item: Any) -> bool:
    return isinstance(item, tuple) and all(map(_is_id, item))


def _is_bias(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and _is_id(item[0]) and isinstance(item[1], int | float) \
        and item[1] <= 1e30  # far above any logit, and the sum of several is still a float32


_ITEMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "words": (_is_word, "rows of token ids"), "logit_bias": (_is_bias, "pairs of a token id and a number of at most 1e30"),
    "stop": (lambda item: isinstance(item, str), "texts"), "order": (lambda item: isinstance(item, str), "names")}


def _either(choices: tuple[str, ...]) -> str:
    quoted = [f"'{choice}'" for choice in choices]
    return " or ".join((", ".join(quoted[:-1]), quoted[-1])) if len(quoted) > 1 else quoted[0]


_WAYS = {"sample": ("sampling", "add sample=True (--sample)"), "beams": ("beams", "ask for 2 or more (--beams 4)"),
         "beam_groups": ("groups", "ask for 2 or more (--beam-groups 2)"), "mbr": ("mbr", "ask for candidates (--mbr 32)")}


def _does_nothing(name: str, value: Any, needed: str) -> str:
    what, way = _WAYS[needed]
    return f"{name}={value} does nothing without {what}; {way} or drop {name}"
