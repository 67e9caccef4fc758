"""The facade: a bundle opened for use. Text or ids in, results out; it knows no strategy and no backend's insides."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from weft import backends
from weft.bundle import Bundle, find_model, open_bundle
from weft.decode import generate, generate_batch
from weft.decode.defaults import beside_draft, override
from weft.decode.guided import Guide, Vocabulary, guide, is_guided
from weft.decode.inputs import Ids, Input, Place, input_of, inputs_of, one_or_several, places, rows_of, seeds_of
from weft.decode.mbr import most_alike
from weft.decode.score import score
from weft.decode.shortlist import ShortlistRunner
from weft.decode.stopping import StopStrings
from weft.decode.strategies.strategy import Stops
from weft.decode.wording import Wording
from weft.errors import UnknownNameError, UsageError, WeftError, WindowError
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, TokenEvent, Top
from weft.spec.presets import preset as named_preset
from weft.spec.ranges import COUNT, check_choice, check_number, shown
from weft.spec.runner import Runner, TextRunner
from weft.spec.trace import Trace
from weft.tasks import find_task
from weft.tasks.classify import classified
from weft.tasks.complete import Truncate, continuation, fit, given_ids, output_ids, prompt_ids
from weft.tasks.fill import Candidate, fill
from weft.tasks.tag import WORD, encode_text, entities, tag_rows, tag_words
from weft.tasks.task import fitted
from weft.text import StreamDecoder, Tokenizer
from weft.text.chat import render, special_texts
from weft.text.controls import Controls
from weft.text.sentences import split_to_fit
from weft.text.shortlist import Shortlist
from weft.text.stops import StopFilter, first_stop

if TYPE_CHECKING:
    from weft.spec.decoding_trace import DecodingTrace

TooLong = Literal["split", "refuse"]
BATCH_ROWS = 128
"""Rows decoded together: `beams` a source."""
OF_THE_WHOLE = ("stop", "prefix", "suffix", "forced_words")
"""Options that say something of an answer as a whole, so that a source is not cut into pieces."""
VERBS: dict[str, tuple[type, str | None, str]] = {
    "translate": (c.LanguageModelHead, "encoder-decoder", "translate"),
    "complete": (c.LanguageModelHead, "decoder-only", "complete prompts"),
    "fill": (c.LanguageModelHead, "encoder-only", "fill in words"),
    "classify": (c.ClassificationHead, None, "classify"),
    "tag": (c.TagHead, None, "tag words"),
    "embed": (c.EmbeddingHead, None, "embed texts")}
"""What a model may do: the head and the kind of model that it takes (None: any), and its name in a sentence."""


@dataclass(frozen=True)
class Result:
    """One source's answer: the best hypothesis or sample, and with n_best or n above 1 all of them in `alternatives`, best
    first: by score, or with mbr by likeness to the other candidates.

    tokens: generated ids, end-of-sequence left out. score: length-penalised log-probability (semantics 5).
    logprobs: one for each generated token, end-of-sequence included. prompt: what a decoder-only model was given; `text`
    is what it added. finished: whether it ended by itself or by a stop string (`reason` end or stop), rather than at the
    limit of new tokens (limit) or without all its forced words (unmet). top_logprobs: (id, log-probability) of the
    likeliest tokens of each step, if asked for. prompt_logprobs: of each token of the prompt but the first, if asked for; no
    ban or rule acts on them. parts: of a text that was translated in pieces, theirs.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    logprobs: tuple[float, ...]
    finished: bool
    alternatives: tuple[Result, ...] = ()
    prompt: str = ""
    reason: str = "end"
    top_logprobs: tuple[Top, ...] = ()
    prompt_logprobs: tuple[float, ...] = ()
    parts: tuple[Result, ...] = ()


class Model:
    """A loaded bundle. `defaults` are its own generation options; keyword options of each call override them."""

    def __init__(self, bundle: Bundle, backend: str = "auto", precision: str = "auto") -> None:
        backends.check(backend, precision)
        self.bundle = bundle
        self.asked: dict[str, Any] = {"backend": backend, "precision": precision}
        self.config: c.ModelConfig = bundle.config
        self.tokenizer = Tokenizer.from_json(bundle.tokenizer_json)
        self.task = find_task(bundle.task)
        self.defaults = override(GenerationOptions(), self._wording.in_ids(bundle.generation))
        self.notices: list[str] = []
        self._runner: TextRunner | None = None

    @property
    def runner(self) -> TextRunner:
        if self._runner is None:
            self._runner = backends.open_runner(self.bundle, **self.asked)
        return self._runner

    @property
    def backend(self) -> str:
        """What runs it: native or torch. Raises UsageError where nothing can."""
        return backends.choose(self.bundle, **self.asked)[0]

    @property
    def precision(self) -> str:
        """What it computes in: fp32, bf16 or int8."""
        return backends.choose(self.bundle, **self.asked)[1]

    # ------------------------------------------------------------ text in, text out

    def translate(self, texts: str | Sequence[str], *, too_long: TooLong = "split", **options: Any) -> Any:
        """One text -> its translation; a list -> a list of translations in the same order.

        A blank text stays as it is. A text longer than the window is cut at sentence ends and put together again,
        with a line in `notices`; too_long="refuse" raises WindowError instead.
        """
        self.require("translate")
        outputs = [result.text for result in self.generate(texts, too_long=too_long, **options)]
        return outputs[0] if isinstance(texts, str) else outputs

    @cached_property
    def languages(self) -> dict[str, int]:
        """Codes of the languages that a many-to-many translator knows (de, de_DE, deu_Latn, ...) -> ids of their tokens."""
        from weft.text.multilingual import language_code

        found = {language_code(token): index for token, index in self.tokenizer.special_tokens.items()}
        return {code: index for code, index in sorted(found.items()) if code}

    def between(self, source: str = "", target: str = "") -> Model:
        """This translator with texts in the language `source` and answers in `target`; an empty one stays as it is.

        Raises UnknownNameError, or UsageError for a model whose template has no place for the source language.
        """
        self.require("translate")
        for code in filter(None, (source, target)):
            if code not in self.languages:
                raise UnknownNameError("language", code, self.languages, "" if self.languages else
                                       " This model's tokenizer has no tokens for languages.")
        other = copy.copy(self)
        if source:
            other.config = replace(self.config, special=self._spoken(self.languages[source]))
        if target and self.tokenizer.openings:
            raise UsageError(f"this model is told the language by the text: begin it with >>{target}<<")
        if target:
            other.defaults = override(self.defaults, {"forced_first": self.languages[target]})
        return other

    def _spoken(self, language: int) -> c.SpecialTokens:
        """Special tokens with another language around a text."""
        special, known = self.config.special, set(self.languages.values())
        if not known & {*special.prefix, *special.ending}:
            raise UsageError("this model's tokenizer puts no source language around a text, so that it cannot be told one")
        prefix, suffix = (tuple(language if token in known else token for token in part)
                          for part in (special.prefix, special.ending))
        return replace(special, prefix=prefix, suffix=suffix)

    def complete(self, prompts: str | Sequence[str], *, truncate: Truncate = "refuse", **options: Any) -> Any:
        """A prompt -> its Result, whose `text` is what the model adds to `prompt`; a list -> a list of them.

        A prompt that leaves no room for the new tokens in the window raises WindowError; truncate="left" cuts its beginning.
        """
        self.require("complete")
        results = self.generate(prompts, truncate=truncate, **options)
        return results[0] if isinstance(prompts, str) else results

    def chat(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
             variables: Mapping[str, Any] | None = None, **options: Any) -> Result:
        """The model's answer to a chat, {"role": "user", "content": ...} and so on, by its chat template.

        tools, variables: what else the template reads. Special tokens that messages spell are ordinary text; those that the
        template itself puts together of a role or a name are not (weft.text.controls), so choose roles yourself. The answer
        ends where the template ends a turn, which may be another token than end-of-sequence.
        """
        self.require("complete")
        prompt = self.chat_ids(messages, tools=tools, variables=variables)
        ends = self._wording.in_ids({"eos": options.pop("eos", self.defaults.eos)})["eos"]
        turn = () if self._turn_end is None else (self._turn_end,)
        return self.generate([prompt], **options, eos=(*ends, *turn))[0]

    def chat_ids(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
                 variables: Mapping[str, Any] | None = None, add_generation_prompt: bool = True) -> list[int]:
        """The prompt of a chat as ids. Raises UsageError for a bundle without a chat template, and as `render` does."""
        hide = self._controls.hide
        ids = self._controls.encode(self._rendered(hide(messages), tools=hide(tools), **hide(dict(variables or {})),
                                                   add_generation_prompt=add_generation_prompt))
        self._check_ids([ids], "chat", None)
        return ids

    def _rendered(self, messages: Sequence[Mapping[str, Any]], **values: Any) -> str:
        if self.bundle.chat_template is None:
            raise UsageError(f"{self.bundle.path} has no chat template, so it is no model for chats; give the whole prompt to "
                             f"complete")
        return render(self.bundle.chat_template, messages, special=special_texts(self.config.special, self.tokenizer), **values)

    @cached_property
    def _controls(self) -> Controls:
        return Controls(self.bundle.tokenizer_json)

    @cached_property
    def _turn_end(self) -> int | None:
        """What the template writes after an answer; None where it has no such token, or does not take the answer tried."""
        try:
            tried = self._rendered([{"role": "user", "content": "1"}, {"role": "assistant", "content": "7319"}],
                                   add_generation_prompt=False)
        except WeftError:
            return None
        return self.tokenizer.id_of(self._controls.after(tried, "7319") or "")

    def fill(self, text: str, top: int = 5) -> list[list[Candidate]]:
        """For every [MASK] (or <mask>) in a text the `top` likeliest tokens with their probabilities, best first."""
        self.require("fill")
        if top < 1:
            raise UsageError(f"top is {top}; it must be 1 or more")
        return fill(self.runner, self.tokenizer, self.config, text, top)

    def classify(self, texts: str | Sequence[str]) -> Any:
        """One text -> Classified (label, probability, probabilities); a list -> a list of them. Long ones are cut."""
        self.require("classify")
        many = [texts] if isinstance(texts, str) else list(texts)
        found = classified(self.runner.score_all(self._whole(many)), self.config)
        return found[0] if isinstance(texts, str) else found

    def tag(self, texts: str | Sequence[str]) -> Any:
        """One text -> its entities (label, text, start, end, probability) in order; a list -> a list of such lists."""
        self.require("tag")
        many = [texts] if isinstance(texts, str) else list(texts)
        spans = [[match.span() for match in WORD.finditer(text)] for text in many]
        if self.bundle.family is None:
            words = [[text[start:end] for start, end in row] for text, row in zip(many, spans, strict=True)]
            tagged = tag_words(self.runner, self.tokenizer, self.config, words)
        else:
            tagged = tag_rows(self.runner, self.config, [encode_text(self.tokenizer, text, row, self.config)
                                                         for text, row in zip(many, spans, strict=True)])
        for text, row, (tags, _) in zip(many, spans, tagged, strict=True):
            if len(tags) < len(row):
                self.notices.append(f"{_beginning(text)} has {len(row)} words; only the {len(tags)} in the window of "
                                    f"{self.config.window.source} tokens were read")
        found = [entities(text, row, *answer) for text, row, answer in zip(many, spans, tagged, strict=True)]
        return found[0] if isinstance(texts, str) else found

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 [texts, D], pooled as the model's head says. Long ones are cut."""
        self.require("embed")
        rows = self.runner.score_all(self._whole(texts))
        return np.stack(rows) if rows else np.zeros((0, self.config.width), np.float32)

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as ids for one pass each; what is past the window is cut, with a notice."""
        limit, rows = self.config.window.source, self.task.sources(self.tokenizer, texts, self.config.special)
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise UsageError(f"the text {text!r:.60} has no tokens, and this model puts none around a text; give it words")
            if len(row) > limit:
                self.notices.append(f"{_beginning(text)} has {len(row)} tokens; only the window of {limit} was read")
        return [fitted(row, self.config) for row in rows]

    def require(self, verb: str) -> None:
        """Raises UsageError, which says what this model can do, where that is not `verb` (one of VERBS)."""
        if verb not in self._verbs():
            raise UsageError(f"this model does not {VERBS[verb][2]}: {self._abilities()}")

    def generate(self, inputs: str | Sequence[Input], *, too_long: TooLong = "split", truncate: Truncate = "refuse",
                 first: int = 0, seeds: Sequence[int] | None = None, draft: Model | str | Path | None = None, **options: Any
                 ) -> list[Result]:
        """Decode texts or token ids, each to a Result, in order: sources, which get end-of-sequence if their ids lack it,
        or prompts of a decoder-only model.

        first: the number of the first input among all that share a seed, for callers who send them in parts. seeds: one for
        each input instead, which then draws what it would draw alone with that seed. draft: a smaller model of the same
        tokenizer that guesses ahead (option draft_tokens); results stay what they are.
        """
        chosen = self._decoding(options, draft)
        check_choice("too_long", too_long, get_args(TooLong))
        check_number("first", first, int, COUNT, 0)
        inputs = inputs_of(inputs)
        seeds = None if seeds is None else seeds_of(seeds, len(inputs), options)
        guessing = None if draft is None else self._draft_runner(draft)
        if self.config.encoder is None:
            return self._complete(inputs, truncate, first, seeds, chosen, guessing)
        if chosen.prompt_logprobs:
            raise UsageError("prompt_logprobs are of a prompt, and this model is encoder-decoder: it has none. For the "
                             "log-probabilities of a given output, use model.score(sources, targets)")
        if is_guided(chosen) or any(getattr(chosen, name) for name in OF_THE_WHOLE):  # pieces put together would not fit
            too_long = "refuse"
        pieces = [self._pieces(first + index, item, too_long) for index, item in enumerate(inputs)]
        flat = [piece for parts in pieces for piece in parts]
        at = places([len(parts) for parts in pieces], first, chosen.seed, seeds)
        answers = iter(self._decode(flat, at, chosen, guessing))
        return [_join([next(answers) for _ in parts], blank=item if isinstance(item, str) else "")
                for item, parts in zip(inputs, pieces, strict=True)]

    def stream(self, text: Input, *, truncate: Truncate = "refuse", draft: Model | str | Path | None = None, **options: Any
               ) -> Iterator[GenerationEvent]:
        """Events of one input as they happen: TokenEvent (with the text it adds), then FinishedEvent.

        Greedy unless options say otherwise. With beams above 1 a token comes once it is certain, with StepEvents between.
        A blank text has no tokens. Raises UsageError for what is chosen among whole answers: n, best_of, mbr.
        """
        chosen, text = self._decoding({"beams": 1, "n_best": 1} | options, draft), input_of(text)
        if chosen.prompt_logprobs:
            raise UsageError("prompt_logprobs are told with a whole answer, not in a stream; leave it out, or call generate")
        if name := chosen.needs_whole:
            raise UsageError(f"{name}={getattr(chosen, name)} cannot be streamed: which answer is given is known once all are "
                             f"whole; leave it out, or call generate")
        guessing, rules = None if draft is None else self._draft_runner(draft), self._rules(chosen)
        told: dict[str, Any] = {"stops": self._stops(chosen), "draft": guessing, "rules": rules}
        if self.config.encoder is None:
            prompt = self._prompt(0, text, chosen, truncate)
            events = self._events([prompt], chosen, **told)
            yield from self._told(events, StreamDecoder(self.tokenizer, prompt), chosen, rules, prompt)
            return
        if isinstance(text, str) and not text.strip():
            yield FinishedEvent(0, (Hypothesis((), (), 0.0, "end"),))
            return
        source = self._source(text)
        self._check_window(0, source, "")
        events = self._events([source], chosen, **told)
        yield from self._told(events, StreamDecoder(self.tokenizer), chosen, rules)

    def _told(self, events: Iterator[GenerationEvent], decoder: StreamDecoder, options: GenerationOptions,
              rules: Mapping[str, Guide], prompt: Ids = ()) -> Iterator[GenerationEvent]:
        """Events with the text that each token adds; nothing of a stop string."""
        ends, shown = {self.config.special.eos, *options.eos}, StopFilter(options.stop)
        for event in events:
            if isinstance(event, TokenEvent):
                event = replace(event, text="" if event.token in ends else shown.push(decoder.push(event.token)))
            if isinstance(event, FinishedEvent):
                self._notice_cut(0, event.hypotheses, rules, prompt)
                self._notice_fewer(0, event.hypotheses, options)
            if isinstance(event, FinishedEvent) and (rest := shown.push(decoder.flush()) + shown.flush()):
                yield TokenEvent(event.request, -1, 0.0, rest)  # held back as half a character, or half a stop string
            yield event

    def score(self, inputs: str | Sequence[str | Ids], targets: str | Sequence[str | Ids] | None = None, *, end: bool = True,
              **options: Any) -> Any:
        """What generating given outputs would report: for each a Result with `logprobs` and `score`, in one pass.

        Encoder-decoder: score(sources, targets). Decoder-only: score(prompts, completions), or score(texts), which are then
        scored from their first token on, or from their second where the model has no start token. Each is a text or ids; one
        text instead of a list gives one Result. end: whether end-of-sequence counts, after a target that does not have it.
        Options act as in generating: what they forbid has log-probability -inf. Raises UsageError, also for diversity, which
        depends on other hypotheses, and WindowError.
        """
        chosen = self._decoding({"beam_groups": 1, "diversity": 0.0} | options, None)
        if chosen.prompt_logprobs:
            raise UsageError("prompt_logprobs are told with what a prompt is completed by; score the prompt itself instead: "
                             "model.score(prompt)")
        given = inputs_of(inputs)
        wanted = [None] * len(given) if targets is None else inputs_of(targets, "target")
        if len(given) != len(wanted):
            raise UsageError(f"{len(given)} inputs and {len(wanted)} targets; scoring takes one target for each input")
        pairs = [self._given_pair(index, *pair, end) for index, pair in enumerate(zip(given, wanted, strict=True))]
        firsts, outputs = [first for first, _ in pairs], [target for _, target in pairs]
        sources, prompts = (None, firsts) if self.config.encoder is None else (firsts, None)
        found = score(self._decoder(chosen), sources, outputs, chosen, prompts=prompts, rules=self._rules(chosen))
        results = [self._one(one, first, replace(chosen, stop=())) for one, first in zip(found, firsts, strict=True)]
        return results[0] if isinstance(inputs, str) else results

    def _given_pair(self, index: int, given: str | Ids, target: str | Ids | None, end: bool) -> tuple[list[int], list[int]]:
        """(source or prompt, output) as ids that fit the window."""
        special, window = self.config.special, self.config.window.target
        if self.config.encoder is None:
            first, output = given_ids(self.tokenizer, special, given, target, end)
            self._check_ids([first], f"input {index + 1}, row", None)
            read = len(first)
        elif target is None:
            raise UsageError("this model is encoder-decoder: call score(sources, targets)")
        else:
            first, output, read = self._source(given), output_ids(self.tokenizer, special, target, end), 1
            self._check_window(index, first, "")
        self._check_ids([[*first, *output]], f"input {index + 1} with its target, row", None)
        if read + len(output) - 1 > window:
            raise WindowError(f"target {index + 1} has {len(output)} tokens after {read} that the decoder begins with; the "
                              f"model's window of {window} holds all but the last of them")
        return first, output

    # ------------------------------------------------------------ arrays

    def logits(self, source_ids: Sequence[Ids] | Ids, target_ids: Sequence[Ids] | Ids | None = None, *,
               trace: Trace | None = None) -> np.ndarray:
        """Teacher-forced logits, float32 [batch, target, vocabulary].

        Encoder-decoder: logits(source_ids, target_ids); source rows end with end-of-sequence and target rows begin
        with the start token, as the caller gives them. Decoder-only: logits(ids). Ragged rows are padded on the
        right; what stands past a row's length means nothing. `trace` collects inspection points.
        """
        if (target_ids is None) != (self.config.encoder is None):
            wanted = "logits(ids)" if self.config.encoder is None else "logits(source_ids, target_ids)"
            raise UsageError(f"this model is {self.config.kind}: call {wanted}")
        source = None if target_ids is None else rows_of(source_ids)
        target = rows_of(source_ids if target_ids is None else target_ids)
        if source is not None and len(source) != len(target):
            raise UsageError(f"{len(source)} sources and {len(target)} targets; logits need as many of each")
        self._check_ids(source or [], "source", self.config.window.source)
        self._check_ids(target, "target", self.config.window.target)
        return self.runner.logits(source, target, trace)

    def trace(self, texts: str | Ids | Sequence[str | Ids], *, candidates: int = 10, layers: Ids | None = None,
              heads: Ids | None = None, truncate: Truncate = "refuse", draft: Model | str | Path | None = None,
              **options: Any) -> DecodingTrace:
        """Decode one text, or several together, as `generate` does, and tell how: weft.spec.decoding_trace.

        candidates: likeliest tokens of each step to keep. layers, heads: numbers, from 0, of those whose attention is kept;
        None for all. Raises UsageError for numbers that the model does not have, and for a blank text to translate.
        """
        chosen, given = self._decoding(options, draft), one_or_several(texts)
        from weft.decode.recorder import Recorder
        from weft.decode.tracing import check_selection, described

        check_selection(self.config, candidates, layers, heads)
        if chosen.mbr:
            raise UsageError(f"mbr={chosen.mbr} chooses among whole answers, which a trace of one does not show; leave it out")
        if self.config.encoder is None:
            inputs = [self._prompt(index, item, chosen, truncate) for index, item in enumerate(given)]
        else:
            inputs = [self._source(item) for item in given]
            for index, (item, source) in enumerate(zip(given, inputs, strict=True)):
                if isinstance(item, str) and not item.strip():
                    raise UsageError(f"input {index + 1} is blank, so there is nothing to decode; give it words")
                self._check_window(index, source, "")
        opened = load(draft, **self.asked) if isinstance(draft, str | Path) else draft
        guessing = None if opened is None else self._draft_runner(opened)
        recorder = Recorder(candidates, layers, heads)
        sources, prompts = (None, inputs) if self.config.encoder is None else (inputs, None)
        generate_batch(self._decoder(chosen), sources, chosen, prompts=prompts, stops=self._stops(chosen),
                       rules=self._rules(chosen), recorder=recorder, draft=guessing)
        requests = []
        recorded = recorder.requests
        for place, request in enumerate(recorded):
            item = given[place * len(given) // len(recorded)]
            texts_out = tuple(self._one(found, request.prompt, chosen).text for found in request.results)
            requests.append(replace(request, text=item if isinstance(item, str) else "", texts=texts_out))
        return described(self.bundle.path.name, self.config, self.tokenizer, chosen, requests,
                         "" if opened is None else opened.bundle.path.name)

    def options(self, *, preset: str | None = None, **options: Any) -> GenerationOptions:
        """This model's defaults with `options` in their place. Raises UsageError.

        preset: a tool to follow (weft.spec.presets); its values stand between the defaults and the options.
        """
        chosen = override(self.defaults, self._wording.in_ids(options), None if preset is None else named_preset(preset))
        if chosen.shortlist and not self.bundle.has_shortlist:
            raise UsageError(f"{self.bundle.path} has no shortlist to choose among; learn one of the pairs that the model was "
                             f"trained on (weft shortlist), or leave the option out")
        return chosen

    def speaking_through(self, runner: Any, window: c.Window) -> Model:
        """This model with another runner of the same ids, such as an ensemble's, that has `window`."""
        other = copy.copy(self)
        other._runner, other.config, other.notices = runner, replace(self.config, window=window), []
        return other

    # ------------------------------------------------------------ inside

    def _verbs(self) -> list[str]:
        head, kind = self.config.head, self.config.kind
        return [verb for verb, (wanted, of, _) in VERBS.items() if isinstance(head, wanted) and of in (None, kind)]

    def _abilities(self) -> str:
        """What this model can do, for an error that says so."""
        (verb,) = self._verbs()
        command = f", weft {verb} on the command line" if verb != "embed" else ""
        return f"it is {self.config.kind} with a {self.config.head.type} head; use model.{verb}(...){command}"

    def _needs_decoder(self) -> None:
        if self.config.decoder is None or not isinstance(self.config.head, c.LanguageModelHead):
            raise UsageError(f"this model does not generate text: {self._abilities()}")

    def _decoder(self, options: GenerationOptions) -> Any:
        """The runner, within its sources' shortlists where options ask for it. What they name themselves is in every list."""
        if not options.shortlist:
            return self.runner
        forced = (options.forced_first, options.forced_last, self.config.special.eos)
        always = [*options.eos, *options.prefix, *options.suffix, *(token for word in options.forced_words for token in word),
                  *(token for token, bias in options.logit_bias if bias > 0), *(token for token in forced if token is not None)]
        return ShortlistRunner(self.runner, partial(self._shortlist.of, always=always))

    @cached_property
    def _shortlist(self) -> Shortlist:
        return self.bundle.shortlist()

    def _decoding(self, options: Mapping[str, Any], draft: Any) -> GenerationOptions:
        """The options in force of a call that generates."""
        self._needs_decoder()
        return self.options(**beside_draft(options, draft))

    def _complete(self, inputs: Sequence[Input], truncate: Truncate, first: int, seeds: Sequence[int] | None,
                  options: GenerationOptions, draft: Runner | None) -> list[Result]:
        prompts = [self._prompt(first + index, item, options, truncate) for index, item in enumerate(inputs)]
        results = self._decode(prompts, places([1] * len(prompts), first, options.seed, seeds), options, draft)
        if not options.prompt_logprobs:
            return results
        read = score(self.runner, None, [ids[1:] for ids in prompts], GenerationOptions(), prompts=[ids[:1] for ids in prompts])
        return [replace(result, prompt_logprobs=one.log_probs) for result, one in zip(results, read, strict=True)]

    def _prompt(self, index: int, item: Input, options: GenerationOptions, truncate: Truncate) -> list[int]:
        ids = prompt_ids(self.tokenizer, self.config.special, item) if isinstance(item, str) else list(item)
        self._check_ids([ids], "prompt", None)
        kept = fit(ids, self.config, options, truncate, f"prompt {index + 1}")
        if len(kept) < len(ids):
            self.notices.append(f"prompt {index + 1} has {len(ids)} tokens; the last {len(kept)} of them were read")
        return kept

    def _pieces(self, index: int, item: Input, too_long: TooLong) -> list[list[int]]:
        """An input as sources that fit the window; none for a blank text."""
        if isinstance(item, str) and not item.strip():
            return []
        source = self._source(item)
        limit = self.config.window.source
        if len(source) <= limit:
            return [source]
        if too_long == "refuse" or not isinstance(item, str):
            raise self._too_long(index, source)
        opening = self.tokenizer.opening(item)  # every piece needs to say the target language
        parts = split_to_fit(item[len(opening) :], lambda text: len(self._source(opening + text)) <= limit)
        self.notices.append(f"input {index + 1} has {len(source)} tokens, more than the model's window of {limit}; "
                            f"it was translated in {len(parts)} pieces")
        return [self._source(opening + part) for part in parts]

    def _source(self, item: Input) -> list[int]:
        special = self.config.special
        if isinstance(item, str):
            return self.task.sources(self.tokenizer, [item], special)[0]
        ids = list(item)
        self._check_ids([ids], "source", None)
        assert special.eos is not None  # every encoder-decoder has it
        return ids if ids and ids[-1] == special.eos else [*ids, special.eos]

    def _check_window(self, index: int, source: list[int], way_out: str) -> None:
        if len(source) > self.config.window.source:
            raise self._too_long(index, source, way_out)

    def _too_long(self, index: int, source: list[int], way_out: str = ", or let it be split (too_long='split')") -> WindowError:
        return WindowError(f"input {index + 1} has {len(source)} tokens, end-of-sequence included; the model's "
                           f"window is {self.config.window.source}. Shorten it{way_out}")

    def _check_ids(self, rows: Sequence[Ids], what: str, limit: int | None) -> None:
        for index, row in enumerate(rows):
            if not len(row):
                raise UsageError(f"{what} {index} has no tokens")
            bad = [token for token in row if not 0 <= token < self.config.vocabulary]
            if bad:
                raise UsageError(f"{what} {index} holds token id {shown(bad[0])}; ids run from 0 to "
                                 f"{self.config.vocabulary - 1}")
            if limit is not None and len(row) > limit:
                raise WindowError(f"{what} {index} has {len(row)} tokens; the model's window is {limit}")

    def _decode(self, sources: list[list[int]], at: Sequence[Place], options: GenerationOptions,
                draft: Runner | None = None) -> list[Result]:
        """Sources sorted by length go through in batches, so that little is padded; answers in order. at: of each source."""
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        asked = options.candidates
        size = max(1, BATCH_ROWS // max(asked.beams, asked.best_of or asked.n))
        answers: dict[int, Result] = {}
        rules = self._rules(options)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            chosen = [sources[row] for row in rows]
            found = self._hypotheses(chosen, asked, draft=draft, rules=rules, stops=self._stops(options),
                                     seeds=[at[row].seed for row in rows], streams=[at[row].stream for row in rows])
            for row, hypotheses in zip(rows, found, strict=True):
                self._notice_cut(at[row].index, hypotheses, rules, [] if self.config.encoder else sources[row])
                self._notice_fewer(at[row].index, hypotheses, asked)
            answers |= {row: self._result(hypotheses, sources[row], options)
                        for row, hypotheses in zip(rows, found, strict=True)}
        return [answers[index] for index in range(len(sources))]

    def _events(self, rows: list[list[int]], options: GenerationOptions, **given: Any) -> Iterator[GenerationEvent]:
        return generate(self._decoder(options), **self._as_inputs(rows), options=options, **given)

    def _hypotheses(self, rows: list[list[int]], options: GenerationOptions, **given: Any) -> list[tuple[Hypothesis, ...]]:
        return generate_batch(self._decoder(options), **self._as_inputs(rows), options=options, **given)

    def _as_inputs(self, rows: list[list[int]]) -> dict[str, Any]:
        return {"sources": None, "prompts": rows} if self.config.encoder is None else {"sources": rows}

    def _draft_runner(self, draft: Model | str | Path) -> Runner:
        """Of a model that may guess for this one. Raises UsageError."""
        other = draft if isinstance(draft, Model) else load(draft, **self.asked)
        require_same_ids(self, other, "draft")
        if other.config.kind != self.config.kind:
            raise UsageError(f"the draft is {other.config.kind}, this model {self.config.kind}; a draft is of its model's kind")
        if other.config.encoder is not None and other.config.window.source < self.config.window.source:
            raise UsageError(f"the draft reads {other.config.window.source} tokens of a source, this model "
                             f"{self.config.window.source}; a draft must read all that its model reads")
        return copy.copy(other.runner)  # which may be this model's own

    @cached_property
    def _wording(self) -> Wording:
        return Wording(self.tokenizer, continues=self.config.encoder is None)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokenizer, self.config.vocabulary)

    def _rules(self, options: GenerationOptions) -> dict[str, Guide]:
        """Rules that need more than options: what guides the output."""
        if not is_guided(options):
            return {}
        made = guide(options, self._vocabulary, self.config.window.target)
        return {made.kind: made}

    def _notice_cut(self, index: int, hypotheses: Sequence[Hypothesis], rules: Mapping[str, Guide], prompt: Ids) -> None:
        """Say which guided output the limit of new tokens cut before it was whole."""
        for kind, rule in rules.items():
            cut = [found for found in hypotheses
                   if found.reason == "limit" and found.tokens and not rule.fits(found.tokens, prompt)]
            if cut:
                self.notices.append(f"input {index + 1} has an output that the limit of {len(cut[0].tokens)} new tokens cut "
                                    f"before it fits the {kind}; allow more (max_new_tokens), if it can end at all")

    def _notice_fewer(self, index: int, hypotheses: Sequence[Hypothesis], options: GenerationOptions) -> None:
        """Say where a search found fewer answers than were asked for, or none with all forced words."""
        if hypotheses[0].tokens and len(hypotheses) < options.n_best:
            self.notices.append(f"input {index + 1} has {len(hypotheses)} answers instead of {options.n_best} (n_best): "
                                f"{options.beams} beams found no more; ask for more beams")
        if hypotheses[0].reason == "unmet":
            self.notices.append(f"input {index + 1} has no answer with all forced_words, for none was found; ask for more "
                                f"beams, or lift the bans on them")

    def _stops(self, options: GenerationOptions) -> Stops | None:
        return StopStrings(self.tokenizer, options.stop, self._generated) if options.stop else None

    def _generated(self, prompt: Ids, tokens: Ids) -> str:
        """The text of tokens behind a prompt."""
        return continuation(self.tokenizer, prompt, tokens) if self.config.encoder is None else self.tokenizer.decode(tokens)

    def _result(self, hypotheses: Sequence[Hypothesis], given: Sequence[int], options: GenerationOptions) -> Result:
        results = [self._one(hypothesis, given, options) for hypothesis in hypotheses]
        if options.mbr:
            order = most_alike([result.text for result in results], options.mbr_utility)
            results = [results[index] for index in order[: options.n if options.sample else options.n_best]]
        return replace(results[0], alternatives=tuple(results)) if len(results) > 1 else results[0]

    def _one(self, hypothesis: Hypothesis, given: Sequence[int], options: GenerationOptions) -> Result:
        ended = hypothesis.tokens[-1:] and hypothesis.tokens[-1] in (self.config.special.eos, *options.eos)
        tokens, prompt = hypothesis.tokens[:-1] if ended else hypothesis.tokens, ""
        text = self._generated(given, tokens)
        if self.config.encoder is None:
            prompt = self.tokenizer.decode(given)
        return Result(text[: first_stop(text, options.stop)], tokens, hypothesis.score, hypothesis.log_probs,
                      hypothesis.reason in ("end", "stop"), prompt=prompt, reason=hypothesis.reason,
                      top_logprobs=hypothesis.tops)


def _beginning(text: str) -> str:
    return f"the text {text[:30] + '…' if len(text) > 30 else text!r}"


def require_same_ids(model: Model, other: Model, what: str) -> None:
    """Raises UsageError where ids of `other`, the `what` of a model, mean other words."""
    if model.config.tokenizer != other.config.tokenizer:
        raise UsageError(f"the {what} has another tokenizer: {other.config.tokenizer}, where the model has "
                         f"{model.config.tokenizer}; its ids would mean other words. Choose one that was trained with the same")
    for name, own, its in (("tokens", model.config.vocabulary, other.config.vocabulary),
                           ("as the id of end-of-sequence", model.config.special.eos, other.config.special.eos)):
        if own != its:
            raise UsageError(f"the {what} has {its} {name}, the model {own}; they must be the same")


def load(name_or_path: str | Path, *, backend: str = "auto", precision: str = "auto") -> Model:
    """Open a bundle folder, or a shipped model by name (`fr-en`). Raises BundleError, and UsageError for a name that is none.

    backend: the `native` engine, or `torch`; auto is the engine, if it is there and knows every part of the model.
    precision: what is computed in, fp32, bf16 or (native) int8; auto is what weft.backends.AUTO says. On the engine, and on
    PyTorch in fp32, a result is the same whatever else is in its batch (docs/performance.md).
    """
    if not isinstance(name_or_path, str | Path):
        raise UsageError(f"the model is {shown(name_or_path)}; give a bundle folder or the name of a shipped model")
    return Model(open_bundle(find_model(str(name_or_path))), backend, precision)


def _join(parts: list[Result], blank: str) -> Result:
    """Pieces of one input put together again; `blank` is what an input of no pieces gives back."""
    if not parts:
        return Result(blank, (), 0.0, (), True)
    if len(parts) == 1:
        return parts[0]
    alternatives = zip(*(part.alternatives for part in parts), strict=False)  # the best with the best, and so on
    text = " ".join(part.text for part in parts if part.text)
    return Result(text, tuple(token for part in parts for token in part.tokens),
                  sum(part.score for part in parts), tuple(p for part in parts for p in part.logprobs),
                  all(part.finished for part in parts), tuple(_join(list(row), blank) for row in alternatives),
                  reason=next((part.reason for part in parts if not part.finished), parts[-1].reason),
                  top_logprobs=tuple(top for part in parts for top in part.top_logprobs), parts=tuple(parts))


__all__ = ["FinishedEvent", "Model", "Result", "load"]
