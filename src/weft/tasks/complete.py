"""Completion: a decoder-only language model of texts. A prompt goes in, what may follow it comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from weft.data import Ragged
from weft.decode.loop import room
from weft.errors import UsageError, WindowError
from weft.metrics import Score, bits_per_character, perplexity
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.ranges import check_choice
from weft.tasks.task import Encoded, Example
from weft.tasks.windows import WindowTask, cut, window_size
from weft.text import Tokenizer

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

Truncate = Literal["refuse", "left"]


class Complete(WindowTask):
    kind = "decoder-only"
    recipe: ClassVar = {"dropout": 0.1, "learning_rate": 2e-3, "warmup": 200, "epochs": 30.0}
    least_updates = 2000

    def epoch(self, encoded: Encoded, config: c.ModelConfig, generator: np.random.Generator | None,
              options: TrainingOptions | None) -> Encoded:
        """Windows of the whole context, each behind the start token; the last of a text ends with eos, if there is one."""
        special = config.special
        start, eos = np.array([special.start], np.int32), np.array([] if special.eos is None else [special.eos], np.int32)
        size = window_size(config.window.target, options)
        rows = Ragged(np.concatenate((start, window, eos) if last and len(window) < size else (start, window))
                      for window, last in cut(encoded.targets, size, generator))
        return Encoded(Ragged([[]] * len(rows)), rows)


    def evaluate(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, examples: Sequence[Example],
                 confidence: bool = False, options: TrainingOptions | None = None) -> list[Score]:
        """How well the model foresees texts, each cut into windows that know nothing of what came before."""
        encoded = self.encode(tokenizer, examples, config)
        rows = [row.tolist() for row in self.epoch(encoded, config, None, None).targets]
        ends = sum(row[-1] == config.special.eos for row in rows)  # what a reader of the text does not have to be told
        found = runner.log_probs([row[:-1] if row[-1] == config.special.eos else row for row in rows])
        tokens = sum(map(len, found))
        nats = -float(sum(row.sum(dtype=np.float64) for row in found))
        window = f"window:{config.window.target}|ends:{ends} left out"
        return [bits_per_character(nats, sum(len(text) for text, _ in examples), window), perplexity(nats, tokens, window)]


def prompt_ids(tokenizer: Tokenizer, special: c.SpecialTokens, text: str) -> list[int]:
    """A prompt as the decoder reads it; an empty one begins with bos, as in transformers' generate.

    Raises UsageError for an empty one where the model has no such token.
    """
    ids = [*special.prefix, *tokenizer.encode(text)]
    if not ids and special.bos is not None:
        return [special.bos]
    if not ids:
        raise UsageError("the prompt is empty, and this model has no start token to begin with; give it some text")
    return ids


def output_ids(tokenizer: Tokenizer, special: c.SpecialTokens, item: str | Sequence[int], end: bool) -> list[int]:
    """A given output as ids; end: with an end-of-sequence, where the model has one and the output has none."""
    ids = tokenizer.encode(item) if isinstance(item, str) else list(item)
    return [*ids, special.eos] if end and special.eos is not None and ids[-1:] != [special.eos] else ids


def given_ids(tokenizer: Tokenizer, special: c.SpecialTokens, prompt: str | Sequence[int],
              completion: str | Sequence[int] | None, end: bool) -> tuple[list[int], list[int]]:
    """(ids to read, ids to score) of a prompt and its completion, cut into tokens together where both are texts.

    Without a completion the prompt is scored, all but its start token or first token.
    """
    read = prompt_ids(tokenizer, special, prompt) if isinstance(prompt, str) else list(prompt)
    if completion is None:
        size = max(1, len(special.prefix) if tuple(read[: len(special.prefix)]) == special.prefix else 1)
        return read[:size], output_ids(tokenizer, special, read[size:], end)
    if isinstance(prompt, str) and isinstance(completion, str):
        whole = prompt_ids(tokenizer, special, prompt + completion)
        completion = whole[len(read) :] if whole[: len(read)] == read else completion
    return read, output_ids(tokenizer, special, completion, end)


def fit(ids: Sequence[int], config: c.ModelConfig, options: GenerationOptions, truncate: Truncate, name: str = "the prompt"
        ) -> list[int]:
    """A prompt that leaves room in the window for as many tokens as are asked for, one at least, cut at its beginning if
    `truncate` is "left".

    Raises WindowError with the three numbers.
    """
    check_choice("truncate", truncate, get_args(Truncate))
    window, most = config.window.target, options.max_new_tokens
    wanted = max(1, options.min_new_tokens) if most is None else most
    over = wanted - room(window, len(ids), options)
    if over <= 0 or (wanted == 0 and not options.prompt_logprobs):
        return list(ids)
    if truncate == "refuse" or wanted > room(window, 1, options):
        fewer = "min_new_tokens" if most is None and wanted > 1 else "max_new_tokens"
        unread = "" if options.penalty_alpha else ", the last of which is not read,"
        raise WindowError(f"{name} has {len(ids)} tokens; with {wanted} new ones{unread} that is {over} more than the model's "
                          f"window of {window}. Shorten it, ask for fewer new tokens ({fewer}), or let its beginning be cut "
                          f"(truncate='left', --truncate left)")
    kept = len(config.special.prefix)
    start = kept if tuple(ids[:kept]) == config.special.prefix else 0
    return [*ids[:start], *ids[start + over :]] if start + over < len(ids) else list(ids[over:])


def continuation(tokenizer: Tokenizer, prompt: Sequence[int], new: Sequence[int]) -> str:
    """The text that `new` ids add to a prompt, with the space between them."""
    before, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *new])
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(new)


TASK = Complete()
