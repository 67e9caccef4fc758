"""What a caller can ask of decoding. No torch, no arrays. What each option means is numbered in docs/decoding.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from weft.errors import UsageError
from weft.spec.contradictions import problems
from weft.spec.ranges import COUNT, FACTOR, LARGEST, SHARE, Range, check_choice, check_number, shown

EarlyStopping = Literal["exact", "heuristic", "first"]
LengthFormula = Literal["wu", "average"]
BeamScores = Literal["renormalised", "raw"]
Utility = Literal["chrf", "bleu"]



def _option(default: Any, help: str, within: Range | None = None, means: Mapping[float, str] | None = None, **metadata: Any
            ) -> Any:
    """within: what a number must be. means: what single values say. needs: the option without which this one does nothing.
    group: heading of this option and those that follow. metavar: what a value is called on the command line. rule: a text
    that the output must fit."""
    said = "; ".join((help, *(f"{value:g} is {what}" for value, what in (means or {}).items())))
    return field(default=default, metadata={"help": f"{said} ({within})" if within else said, "within": within,
                                            "means": means or {}, **metadata})


OFF, ONE_OFF = {0.0: "off"}, {1.0: "off"}


@dataclass(frozen=True)
class GenerationOptions:
    """How to decode. Command-line flags, request fields and docs derive from these fields.

    Without any of them decoding is greedy. `sample` draws, `beams` above 1 is beam search, `penalty_alpha` contrastive
    search; two of these at once are refused, as is every option that would do nothing.
    """

    beams: int = _option(1, "live hypotheses of beam search; a bundle has its own default", Range(1, 64), {1: "greedy"},
                         group="search")
    n_best: int = _option(1, "results a source, best first; at most beams", Range(1, 64))
    length_penalty: float = _option(1.0, "alpha of the length penalty; higher favours longer", Range(-5, 5), {0: "none"})
    length_formula: LengthFormula = _option("wu", "((5+n)/6)**alpha (wu, Wu et al. 2016) or n**alpha (average)",
                                            choices=get_args(LengthFormula))
    early_stopping: EarlyStopping = _option("exact", "when a beam is done: exact, heuristic or first (semantics 7)",
                                            choices=get_args(EarlyStopping), needs="beams")
    beam_groups: int = _option(1, "groups that the beams are cut into, each kept unlike those before (Vijayakumar et al. 2016)",
                               Range(1, 64))
    diversity: float = _option(0.0, "taken from a token's score for each hypothesis of earlier groups that chose it",
                               Range(0, 100), needs="beam_groups")
    coverage_penalty: float = _option(0.0, "beta of the coverage penalty: beta * sum over the source of log(min(attention "
                                           "received, 1)) (Wu et al. 2016, equation 14)", Range(0, 10), OFF, needs="beams")
    forced_words: tuple[tuple[int, ...], ...] = _option(
        (), "words, or rows of token ids, that must appear (Post and Vilar 2018)", needs="beams", words=True,
        metavar="TEXT")
    penalty_alpha: float = _option(0.0, "contrastive search among the top_k: (1 - alpha) p - alpha * likeness to what is there "
                                        "(Su et al. 2022)", SHARE, OFF)

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
                                             "below 0 (Keskar et al. 2019)", FACTOR, ONE_OFF)
    encoder_repetition_penalty: float = _option(1.0, "as repetition_penalty, the other way: above 1 favours tokens of the "
                                                     "source or prompt", FACTOR, ONE_OFF)
    presence_penalty: float = _option(0.0, "taken from the logit of every token generated before", Range(-100, 100), OFF)
    frequency_penalty: float = _option(0.0, "taken from a token's logit once for each time it was generated", Range(-100, 100),
                                       OFF)
    no_repeat_ngram: int = _option(0, "no run of this many tokens comes twice", COUNT, OFF)
    encoder_no_repeat_ngram: int = _option(0, "no run of this many tokens of the source comes", COUNT, OFF)
    shortlist: bool = _option(False, "choose among the likely translations of the source's tokens only, which is sooner "
                                     "(L'Hostis et al. 2016; of a bundle that weft shortlist was run on)")
    json_schema: str = _option("", "a JSON schema that the output fits, as JSON (needs weft[guided])", rule=True)
    regex: str = _option("", "a regular expression that the output matches (needs weft[guided])", rule=True)
    grammar: str = _option("", "a Lark grammar that the output is derived from (needs weft[guided])", rule=True)

    sample: bool = _option(False, "draw tokens at random instead of taking the best", group="sampling")
    temperature: float = _option(1.0, "divide the logits by this before sampling (Ackley et al. 1985)", Range(0, 100),
                                 {0: "greedy"}, needs="sample")
    top_k: int = _option(0, "sample among the k likeliest tokens only (Fan et al. 2018)", COUNT, OFF, needs="sample")
    top_p: float = _option(1.0, "sample among the likeliest tokens whose probabilities reach p (Holtzman et al. 2019)",
                           Range(0, 1, above=True), ONE_OFF, needs="sample")
    min_p: float = _option(0.0, "drop tokens less likely than p times the likeliest (Nguyen et al. 2024)", SHARE, OFF,
                           needs="sample")
    typical_p: float = _option(1.0, "sample among the tokens whose surprise is nearest the mean, up to mass p (Meister et al. "
                                    "2022)", Range(0, 1, above=True), ONE_OFF, needs="sample")
    epsilon_cutoff: float = _option(0.0, "drop tokens less likely than this (Hewitt et al. 2022)", Range(0, 1, below=True), OFF,
                                    needs="sample")
    eta_cutoff: float = _option(0.0, "drop tokens less likely than min(eta, sqrt(eta) exp(-entropy)) (Hewitt et al. 2022)",
                                Range(0, 1, below=True), OFF, needs="sample")
    top_n_sigma: float = _option(0.0, "drop tokens whose logit is more than n standard deviations below the best (Tang et al. "
                                      "2024)", Range(0, 100), OFF, needs="sample")
    seed: int = _option(0, "seed of the random draws", COUNT)
    n: int = _option(1, "samples an input", Range(1, 256), needs="sample")
    best_of: int | None = _option(None, "samples drawn an input, of which the n with the best scores are kept; default: n",
                                  Range(1, 256), needs="sample")

    logprobs: int = _option(0, "log-probabilities of this many of the likeliest tokens at every step", Range(0, 100),
                            group="what is told besides")
    prompt_logprobs: bool = _option(False, "log-probabilities of the tokens of a prompt too (decoder-only)")

    lookup: int = _option(0, "guess ahead by looking up the last tokens in the input: most tokens a guess; one input "
                             "at a time; the result is the same, sooner (Saxena 2023)", Range(0, 64), OFF,
                          group="other ways to the same, or to a better choice")
    draft_tokens: int = _option(4, "tokens that a draft model guesses ahead, where one is given (Leviathan et al. 2023)",
                                Range(1, 64))
    mbr: int = _option(0, "choose the candidate most like this many others, n-best or samples (Eikema and Aziz 2020)",
                       Range(0, 256), OFF)
    mbr_utility: Utility = _option("chrf", "likeness that mbr goes by: chrf or bleu of sentences", choices=get_args(Utility),
                                   needs="mbr")

    order: tuple[str, ...] = _option((), "processors that take each other's places so as to run in this order", cli=False,
                                     group="semantics that tools differ in; presets set them")
    beam_scores: BeamScores = _option("renormalised", "a beam's log-probabilities: of the logits that rules have changed "
                                      "(renormalised), or the model's own, changed after (raw)", choices=get_args(BeamScores),
                                      needs="beams")

    def __post_init__(self) -> None:
        for option in fields(self):
            _check_value(option.name, getattr(self, option.name), option)
        for problem in problems(self):
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


def _check_value(name: str, value: Any, option: Any) -> None:
    """Raises UsageError for a value of the wrong type or out of its range."""
    metadata, choices = option.metadata, option.metadata.get("choices")
    if value is None and option.default is None:
        return
    if isinstance(option.default, tuple):
        _check_rows(name, value, metadata)
    elif choices:
        check_choice(name, value, choices)
    else:
        kind = int if option.default is None else type(option.default)
        check_number(name, value, kind, metadata.get("within"), option.default, metadata["means"])


def _check_rows(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    fits, kind = _ITEMS.get("words" if metadata.get("words") else name, (_is_id, "token ids"))
    if not isinstance(value, tuple):
        raise UsageError(f"{name} is {shown(value)}; it must be a list of {kind}")
    for item in value:
        if isinstance(item, str | tuple) and not item:
            raise UsageError(f"{name} holds an empty {'text' if item == '' else 'row'}; leave it out")
        if not fits(item):
            raise UsageError(f"{name} holds {shown(item)}; it takes {kind}")


def _is_id(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and abs(item) <= LARGEST


def _is_word(item: Any) -> bool:
    return isinstance(item, tuple) and all(map(_is_id, item))


def _is_bias(item: Any) -> bool:
    """1e30 is far above any logit, and the sum of several is still a float32."""
    return isinstance(item, tuple) and len(item) == 2 and _is_id(item[0]) and isinstance(item[1], int | float) \
        and not isinstance(item[1], bool) and (item[1] == -math.inf or -LARGEST <= item[1] <= 1e30)


_ITEMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "words": (_is_word, "rows of token ids"),
    "logit_bias": (_is_bias, "pairs of a token id and a number of at most 1e30 (-inf forbids the token)"),
    "stop": (lambda item: isinstance(item, str), "texts"), "order": (lambda item: isinstance(item, str), "names")}
