"""The facade: a bundle opened for use. Text or ids in, results out; it knows no strategy and no backend's insides."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weft.bundle import Bundle, find_model, open_bundle
from weft.decode import generate, generate_batch
from weft.errors import UnknownNameError, UsageError, WindowError
from weft.spec.config import ModelConfig
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, TokenEvent
from weft.spec.trace import Trace
from weft.tasks import find_task
from weft.text import StreamDecoder, Tokenizer
from weft.text.sentences import split_to_fit

if TYPE_CHECKING:
    from weft.backends.torch import TorchRunner

Ids = Sequence[int]
TooLong = Literal["split", "refuse"]
BATCH_ROWS = 128
"""Rows decoded together: `beams` a source."""


@dataclass(frozen=True)
class Result:
    """One source's answer: the best hypothesis, and with n_best above 1 all of them in `alternatives`.

    tokens: generated ids, end-of-sequence left out. score: length-penalised log-probability (semantics 5).
    logprobs: one for each generated token, end-of-sequence included.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    logprobs: tuple[float, ...]
    finished: bool
    alternatives: tuple[Result, ...] = ()


class Model:
    """A loaded bundle. `defaults` are its own generation options; keyword options of each call override them."""

    def __init__(self, bundle: Bundle, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        self.bundle, self.precision = bundle, precision
        self.config: ModelConfig = bundle.config
        self.tokenizer = Tokenizer.from_json(bundle.tokenizer_json)
        self.task = find_task(bundle.task)
        self.defaults = _override(GenerationOptions(), bundle.generation)
        self.notices: list[str] = []
        self._runner: TorchRunner | None = None

    @property
    def runner(self) -> TorchRunner:
        if self._runner is None:
            self._runner = _torch_runner(self.bundle, self.precision)
        return self._runner

    # ------------------------------------------------------------ text in, text out

    def translate(self, texts: str | Sequence[str], *, too_long: TooLong = "split", **options: Any) -> Any:
        """One text -> its translation; a list -> a list of translations in the same order.

        A blank text stays as it is. A text longer than the window is cut at sentence ends and put together again,
        with a line in `notices`; too_long="refuse" raises WindowError instead.
        """
        single = isinstance(texts, str)
        results = self.generate([texts] if isinstance(texts, str) else list(texts), too_long=too_long, **options)
        outputs = [result.text for result in results]
        return outputs[0] if single else outputs

    def generate(self, inputs: Sequence[str | Ids], *, too_long: TooLong = "split", first: int = 0, **options: Any
                 ) -> list[Result]:
        """Decode texts or token ids, each to a Result, in order. Ids get end-of-sequence if they lack it.

        first: the number of the first input among all that share a seed, for callers who send them in parts.
        """
        chosen = self.options(**options)
        self._needs_encoder()
        pieces = [self._pieces(index, item, too_long) for index, item in enumerate(inputs)]
        flat = [piece for parts in pieces for piece in parts]
        streams = [first + index + (piece << 32) for index, parts in enumerate(pieces) for piece in range(len(parts))]
        answers = iter(self._decode(flat, streams, chosen))
        return [_join([next(answers) for _ in parts], blank=item if isinstance(item, str) else "")
                for item, parts in zip(inputs, pieces, strict=True)]

    def stream(self, text: str | Ids, **options: Any) -> Iterator[GenerationEvent]:
        """Events of one input as they happen: TokenEvent (with the text it adds), then FinishedEvent.

        Greedy unless options say otherwise; with beams above 1, StepEvents instead of TokenEvents. A blank text has no
        tokens.
        """
        chosen = self.options(**({"beams": 1, "n_best": 1} | options))
        self._needs_encoder()
        if isinstance(text, str) and not text.strip():
            yield FinishedEvent(0, (Hypothesis((), (), 0.0, True),))
            return
        source = self._source(text)
        self._check_window(0, source, "")
        decoder = StreamDecoder(self.tokenizer)
        for event in generate(self.runner, [source], chosen):
            if isinstance(event, TokenEvent):
                event = replace(event, text="" if event.token == self.config.special.eos else decoder.push(event.token))
            if isinstance(event, FinishedEvent) and (rest := decoder.flush()):
                yield TokenEvent(event.request, -1, 0.0, rest)  # what was held back as half a character
            yield event

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
        source = None if target_ids is None else _rows(source_ids)
        target = _rows(source_ids if target_ids is None else target_ids)
        if source is not None and len(source) != len(target):
            raise UsageError(f"{len(source)} sources and {len(target)} targets; logits need as many of each")
        self._check_ids(source or [], "source", self.config.window.source)
        self._check_ids(target, "target", self.config.window.target)
        return self.runner.logits(source, target, trace)

    def options(self, **options: Any) -> GenerationOptions:
        """This model's defaults with `options` in their place. Raises UsageError."""
        return _override(self.defaults, options)

    # ------------------------------------------------------------ inside

    def _needs_encoder(self) -> None:
        if self.config.encoder is None:
            raise UsageError("this model is decoder-only: it completes texts, which Weft does not offer yet; logits(ids) "
                             "scores them")

    def _pieces(self, index: int, item: str | Ids, too_long: TooLong) -> list[list[int]]:
        """An input as sources that fit the window; none for a blank text."""
        if isinstance(item, str) and not item.strip():
            return []
        source = self._source(item)
        limit = self.config.window.source
        if len(source) <= limit:
            return [source]
        if too_long == "refuse" or not isinstance(item, str):
            self._check_window(index, source)
        parts = split_to_fit(item, lambda text: len(self._source(text)) <= limit)  # type: ignore[arg-type]
        self.notices.append(f"input {index + 1} has {len(source)} tokens, more than the model's window of {limit}; "
                            f"it was translated in {len(parts)} pieces")
        return [self._source(part) for part in parts]

    def _source(self, item: str | Ids) -> list[int]:
        special = self.config.special
        if isinstance(item, str):
            return self.task.sources(self.tokenizer, [item], special)[0]
        ids = _rows(item)[0]
        self._check_ids([ids], "source", None)
        return ids if ids and ids[-1] == special.eos else [*ids, special.eos]

    def _check_window(self, index: int, source: list[int], way_out: str = ", or let it be split (too_long='split')") -> None:
        limit = self.config.window.source
        if len(source) > limit:
            raise WindowError(f"input {index + 1} has {len(source)} tokens, end-of-sequence included; the model's "
                              f"window is {limit}. Shorten it{way_out}")

    def _check_ids(self, rows: Sequence[Ids], what: str, limit: int | None) -> None:
        for index, row in enumerate(rows):
            if not len(row):
                raise UsageError(f"{what} {index} has no tokens")
            bad = [token for token in row if not 0 <= token < self.config.vocabulary]
            if bad:
                raise UsageError(f"{what} {index} holds token id {bad[0]}; ids run from 0 to "
                                 f"{self.config.vocabulary - 1}")
            if limit is not None and len(row) > limit:
                raise WindowError(f"{what} {index} has {len(row)} tokens; the model's window is {limit}")

    def _decode(self, sources: list[list[int]], streams: list[int], options: GenerationOptions) -> list[Result]:
        """Sources sorted by length go through in batches, so that little is padded; answers in order."""
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        size = max(1, BATCH_ROWS // options.beams)
        answers: dict[int, Result] = {}
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            found = generate_batch(self.runner, [sources[row] for row in rows], options,
                                   streams=[streams[row] for row in rows])
            answers |= {row: self._result(hypotheses) for row, hypotheses in zip(rows, found, strict=True)}
        return [answers[index] for index in range(len(sources))]

    def _result(self, hypotheses: Sequence[Hypothesis]) -> Result:
        results = [self._one(hypothesis) for hypothesis in hypotheses]
        return replace(results[0], alternatives=tuple(results)) if len(results) > 1 else results[0]

    def _one(self, hypothesis: Hypothesis) -> Result:
        tokens = hypothesis.tokens[:-1] if hypothesis.finished else hypothesis.tokens
        return Result(self.task.prediction(self.tokenizer, tokens), tokens, hypothesis.score, hypothesis.log_probs,
                      hypothesis.finished)


def load(name_or_path: str | Path, *, precision: Literal["fp32", "bf16"] = "fp32") -> Model:
    """Open a bundle folder, or a shipped model by name (`fr-en`). Raises BundleError.

    precision: what PyTorch computes in; fp32 gives the same result whatever the batch (docs/LOG.md).
    """
    return Model(open_bundle(find_model(str(name_or_path))), precision)


def _torch_runner(bundle: Bundle, precision: str) -> TorchRunner:
    try:
        import torch

        from weft.backends.torch import TorchRunner
        from weft.nn.model import Model as Network
    except ImportError as error:
        raise UsageError("running a model needs PyTorch: pip install 'weft[torch]'") from error
    network = Network(bundle.config)
    weights = bundle.weights()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    return TorchRunner(network.to(torch.bfloat16 if precision == "bf16" else torch.float32))


def _override(base: GenerationOptions, options: Mapping[str, Any]) -> GenerationOptions:
    names = [field.name for field in fields(GenerationOptions)]
    for name in options:
        if name not in names:
            raise UnknownNameError("generation option", name, names)
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    if values.get("sample") and "beams" not in values:
        values["beams"] = 1
    return replace(base, **values)


def _rows(ids: Any) -> list[list[int]]:
    """One row or many, lists or arrays, as lists of ints. Raises UsageError for anything else."""
    try:
        rows = [ids] if len(ids) and np.ndim(ids[0]) == 0 else ids
        found = [[operator.index(token) for token in row] for row in rows]
    except TypeError as error:
        raise UsageError(f"expected token ids (whole numbers) in rows, or a text, not {ids!r:.80}") from error
    if not found:
        raise UsageError("no rows of token ids are given")
    return found


def _join(parts: list[Result], blank: str) -> Result:
    """Pieces of one input put together again; `blank` is what an input of no pieces gives back."""
    if not parts:
        return Result(blank, (), 0.0, (), True)
    if len(parts) == 1:
        return parts[0]
    return Result(" ".join(part.text for part in parts), tuple(token for part in parts for token in part.tokens),
                  sum(part.score for part in parts), tuple(p for part in parts for p in part.logprobs),
                  all(part.finished for part in parts))


__all__ = ["FinishedEvent", "Model", "Result", "load"]
