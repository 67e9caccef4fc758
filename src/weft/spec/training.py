"""What a caller can ask of training, and the events that training yields. No torch.

Command-line flags, recipe files (TOML) and the Python API derive from the fields of TrainingOptions. None means
"decide from the data and the machine"; the decision is written into the run's options.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from weft.errors import UsageError

Schedule = Literal["linear", "cosine", "inverse_sqrt", "constant"]


def _option(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. The groups: data, length of the run, model, tokenizer, optimiser, bookkeeping."""

    data: tuple[str, ...] = _option((), "training files: .tsv, .bio, .txt or .jsonl, also as .gz", positional=True)
    validation: tuple[str, ...] = _option((), "validation files; default: held out from the training data")
    data_root: str = _option("", "folder that relative data and validation paths start from")
    out: str = _option("", "folder for the run and its bundle; default: the first data file's name")
    task: str = _option("translate", "what is learnt: translate (pairs), classify (texts and labels), tag (words and tags), "
                                     "complete, fill or denoise (texts)")
    source_column: int = _option(0, "column of the source, from 0")
    target_column: int = _option(1, "column of the target, from 0")
    start: str = _option("", "bundle whose tokenizer and weights the run begins with; a head that does not fit is new")
    context: int = _option(256, "tokens of a window: complete, fill, denoise")
    noise: float | None = _option(None, "share of tokens that fill (default 0.15) and denoise (0.15 spans, 0.3 infill) hide")
    objective: str = _option("spans", "denoise: restore spans one by one (T5) or the whole text (BART)",
                             choices=("spans", "infill"))
    max_length: int = _option(200, "longest source or target in tokens; longer pairs are left out and counted")

    minutes: float | None = _option(None, "wall-clock budget; the learning rate decays to its end")
    steps: int | None = _option(None, "number of updates")
    epochs: float | None = _option(None, "passes over the data; without minutes, steps or epochs --size decides")

    family: str = _option("auto", "transformer or rnn; llama, gpt2, palm or jurassic to complete; modernbert to fill, "
                                  "classify and tag; auto: the first that does the task",
                          choices=("auto", "transformer", "rnn", "llama", "gpt2", "palm", "jurassic", "modernbert"))
    size: str = _option("auto", "tiny, small, base, big, or auto: from the amount of data")
    layers: int | None = _option(None, "encoder layers (and decoder layers, unless given)")
    decoder_layers: int | None = _option(None, "decoder layers")
    width: int | None = _option(None, "model width D")
    heads: int | None = _option(None, "attention heads")
    feed_forward: int | None = _option(None, "feed-forward size F")
    placement: str | None = _option(None, "norms after (post) or before (pre) each sub-layer; default: by size",
                                  choices=("post", "pre"))
    cell: str = _option("gru", "recurrent cell: gru or lstm", choices=("gru", "lstm"))
    bridge: str = _option("bahdanau", "recurrent models: sutskever, cho, bahdanau or luong",
                          choices=("sutskever", "cho", "bahdanau", "luong"))
    bidirectional: bool = _option(True, "recurrent encoder reads both ways")
    dropout: float | None = _option(None, "drop probability after embeddings and sub-layers, in steps of 1/256")
    attention_dropout: float = _option(0.0, "drop probability of attention weights")
    activation_dropout: float = _option(0.0, "drop probability inside the feed-forward part")

    tokenizer: str = _option("metaspace_bpe", "kind: byte_bpe, metaspace_bpe, unigram, wordpiece, word, character")
    vocabulary: int | None = _option(None, "most tokens of the tokenizer, special ones included")

    batch_tokens: int | None = _option(None, "most target tokens of an update, padding included")
    accumulate: int | None = _option(None, "small batches an update is cut into; default: 1, more if memory is short")
    learning_rate: float | None = _option(None, "peak learning rate")
    schedule: Schedule | None = _option(None, "linear (to zero at the end of the run), cosine, inverse_sqrt, constant",
                                        choices=("linear", "cosine", "inverse_sqrt", "constant"))
    warmup: int | None = _option(None, "updates over which the learning rate rises")
    beta1: float = _option(0.9, "Adam's decay of the mean gradient")
    beta2: float = _option(0.98, "Adam's decay of the mean squared gradient")
    epsilon: float = _option(1e-9, "Adam's epsilon")
    weight_decay: float = _option(0.0, "decoupled weight decay of matrices (Loshchilov and Hutter 2019)")
    clip: float = _option(1.0, "largest norm of the gradient; 0 is no limit")
    label_smoothing: float | None = _option(None, "share of the target probability spread over all classes; default: 0.1 for "
                                                  "translate, else 0")
    ema: float | None = _option(None, "decay an update of an exponential moving average of the weights; 0 is none")
    average: int = _option(0, "average the weights of this many last validations; 0 or 1 is none")
    precision: str = _option("auto", "compute in fp32, bf16, or what is faster here (auto)",
                             choices=("auto", "fp32", "bf16"))
    seed: int = _option(0, "seed of initialisation, data order and dropout")
    threads: int | None = _option(None, "CPU threads; default: all")

    validate_every: int | None = _option(None, "updates between validations")
    patience: int = _option(0, "stop after this many validations without a better loss; 0 is never")
    validation_examples: int = _option(200, "validation examples answered (greedily) for the task's metric; 0 is none")
    samples: int = _option(2, "answers shown at each validation")
    checkpoint_seconds: float = _option(60.0, "seconds between checkpoints, besides those at validations")
    log_every: int = _option(10, "updates between progress events and lines of metrics.jsonl")
    tensorboard: bool = _option(False, "also write TensorBoard event files")
    overwrite: bool = _option(False, "throw away the run that is in the output folder")
    data_licence: str = _option("", "licence and attribution of the data, for the model card")

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise UsageError(problem)

    def _problems(self) -> list[str]:
        lengths = [name for name in ("minutes", "steps", "epochs") if getattr(self, name) is not None]
        checks = [(len(lengths) <= 1, f"{' and '.join(lengths)} contradict each other; give one of them")]
        for name in ("dropout", "attention_dropout", "activation_dropout", "label_smoothing", "ema", "noise"):
            value = getattr(self, name)
            checks.append((value is None or 0.0 <= value < 1.0, f"{name} is {value}; it must be 0 to below 1"))
        for name in ("minutes", "steps", "epochs", "layers", "width", "heads", "feed_forward", "vocabulary",
                     "batch_tokens", "accumulate", "learning_rate", "validate_every", "threads", "max_length", "context"):
            value = getattr(self, name)
            checks.append((value is None or value > 0, f"{name} is {value}; it must be above 0"))
        for name in ("source_column", "target_column", "weight_decay", "clip", "average", "patience", "seed",
                     "warmup", "decoder_layers"):
            value = getattr(self, name)
            checks.append((value is None or value >= 0, f"{name} is {value}; it must be 0 or more"))
        foreign = [name for name in ("heads", "decoder_layers") if getattr(self, name) is not None]
        checks.append((self.family != "rnn" or not foreign,
                       f"{' and '.join(foreign)}: a recurrent model has none; leave out, or use --family transformer"))
        checks.append((not (self.ema and self.average > 1), "ema and average contradict each other; give one of them"))
        return [message for good, message in checks if not good]


# ---------------------------------------------------------------- events


@dataclass(frozen=True)
class Started:
    """Training begins or goes on at `step`. settings: the options as resolved; notes: what a user should know."""

    out: str
    step: int
    total_steps: int | None
    parameters: int
    train_examples: int
    validation_examples: int
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """After an update. loss: label-smoothed, nats a token; tokens: target tokens so far."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float
    """Seconds of training so far, earlier parts of a resumed run included."""
    seconds_left: float | None


@dataclass(frozen=True)
class Validated:
    """loss: nats a target without smoothing; score: the task's first metric on the first validation examples; best: a new
    best loss, or score where the task goes by that."""

    step: int
    loss: float
    perplexity: float
    metric: str
    score: float | None
    best: bool
    samples: tuple[tuple[str, str, str], ...]
    """(source, reference, output)"""


@dataclass(frozen=True)
class Checkpointed:
    step: int
    path: str


@dataclass(frozen=True)
class Warned:
    """Something went wrong that does not end the run, such as a full disk."""

    message: str


@dataclass(frozen=True)
class Finished:
    """The bundle is written. reason: steps, minutes, epochs, patience, interrupted or already finished."""

    step: int
    bundle: str
    best_loss: float | None
    best_score: float | None
    metric: str
    reason: str


TrainingEvent = Started | Progress | Validated | Checkpointed | Warned | Finished
