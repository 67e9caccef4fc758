"""What a run is made of before its first update: examples, tokenizer, configuration, folder.

Everything here is decided once and written to OUT/run/, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weft import data
from weft.bundle import FILES, MANIFEST, Bundle, find_model, open_bundle, write_atomically
from weft.errors import CheckpointError, DataError, UsageError
from weft.spec import config as c
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded, Example, Task, find_task
from weft.text import SPECIAL_TOKENS, Tokenizer
from weft.train import plan

# Options that may differ between the parts of one run: they change no number of it.
FREE = ("overwrite", "log_every", "checkpoint_seconds", "tensorboard", "data_licence", "samples")


@dataclass
class Run:
    """A prepared run. `asked` are the options as given, `options` as resolved."""

    folder: Path
    options: TrainingOptions
    config: c.ModelConfig
    tokenizer: Tokenizer
    task: Task
    train: Encoded
    validation: Encoded
    validation_examples: list[Example]
    notes: list[str]

    def examples(self, epoch: int) -> Encoded:
        """What an epoch trains on."""
        generator = np.random.default_rng((self.options.seed, epoch, 1))
        return self.task.epoch(self.train, self.config, generator, self.options)

    @property
    def out(self) -> Path:
        return self.folder.parent

    @property
    def finished(self) -> bool:
        return (self.folder / "finished.json").exists()


def open_run(asked: TrainingOptions) -> Run:
    """Begin a run in asked.out, or take up the one that is there if it was begun by the same options.

    Raises DataError, UsageError (another run's folder) or CheckpointError (changed data).
    """
    if not asked.data:
        raise UsageError("no training data: name at least one file, e.g. weft train pairs.tsv")
    find_task(asked.task)
    asked = replace(asked, out=asked.out or default_out(asked))
    folder = Path(asked.out) / "run"
    pairs, validation, notes = read_data(asked)
    if asked.overwrite and folder.is_dir():
        _throw_away(folder)
    record = _read_record(folder)
    if record is None:
        return _begin(folder, asked, pairs, validation, notes)
    return _take_up(folder, asked, record, pairs, validation, notes)


def default_out(options: TrainingOptions) -> str:
    return Path(options.data[0]).name.removesuffix(".gz").removesuffix(".tsv") + "-model"


def _begin(folder: Path, asked: TrainingOptions, pairs: list[Example], validation: list[Example], notes: list[str]) -> Run:
    _refuse_foreign_folder(folder.parent)
    task = find_task(asked.task)
    beginning = _beginning(asked)
    tokenizer = _tokenizer(asked, task, pairs, beginning)
    options = plan.resolve(asked, _amount(task, pairs), _count_tokens(tokenizer, task, pairs))
    options = replace(options, precision=plan.choose_precision() if options.precision == "auto" else options.precision,
                      threads=options.threads or torch.get_num_threads())
    config = _config(options, task, tokenizer, task.head(pairs), beginning)
    options = replace(options, vocabulary=tokenizer.vocabulary_size)
    if options.validation_examples and task.missing():
        notes.append(f"validation goes by the loss alone: {task.missing()}")
        options = replace(options, validation_examples=0)
    if options.accumulate is None:
        options = replace(options, accumulate=plan.accumulation(config, options, plan.available_memory()))
    record = {"asked": _comparable(asked), "resolved": dataclasses.asdict(options), "config": config.to_dict(),
              "data": fingerprint(pairs, validation)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "tokenizer.json", tokenizer.to_json().encode())
        write_atomically(folder / "options.json", json.dumps(record, indent=1).encode())
    except OSError as error:
        raise UsageError(f"cannot write the run into {folder}: {error.strerror}; choose another --out") from error
    return _encode(folder, options, config, tokenizer, pairs, validation, notes)


def _take_up(folder: Path, asked: TrainingOptions, record: dict[str, Any], pairs: list[Example], validation: list[Example],
             notes: list[str]) -> Run:
    _refuse_other_run(folder.parent, asked, record)
    if record["data"] != fingerprint(pairs, validation):
        raise CheckpointError(f"the training data of the run in {folder.parent} has changed since it began "
                              f"({record['data']} then, {fingerprint(pairs, validation)} now), so it cannot go on "
                              f"exactly; restore the files, or use --overwrite or another --out")
    free = {name: getattr(asked, name) for name in FREE}
    options = replace(_options(record["resolved"]), **free)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    config = c.ModelConfig.from_dict(record["config"])
    return _encode(folder, options, config, tokenizer, pairs, validation, notes)


SHAPE = ("layers", "decoder_layers", "width", "heads", "feed_forward", "placement", "vocabulary")
"""Options of a model and a tokenizer that are made anew."""


def _beginning(asked: TrainingOptions) -> Bundle | None:
    """The bundle that the run begins with. Raises UsageError where options ask for another model than that."""
    if not asked.start:
        return None
    own = ["family"] * (asked.family != "auto") + [name for name in SHAPE if getattr(asked, name) is not None]
    if own:
        raise UsageError(f"{' and '.join(own)} {'do' if len(own) > 1 else 'does'} nothing with --start: the model and its "
                         f"tokenizer are those of {asked.start}; leave out, or train without --start")
    return open_bundle(find_model(asked.start))


def _tokenizer(asked: TrainingOptions, task: Task, examples: Sequence[Example], beginning: Bundle | None) -> Tokenizer:
    """The tokenizer of the bundle that the run begins with, or a new one."""
    if beginning is not None:
        return Tokenizer.from_json(beginning.tokenizer_json)
    return Tokenizer.train(asked.tokenizer, task.texts(examples), plan.vocabulary(asked, _amount(task, examples)),
                           special_tokens=(*SPECIAL_TOKENS, *task.special_tokens))


def _config(options: TrainingOptions, task: Task, tokenizer: Tokenizer, head: c.Head, beginning: Bundle | None
            ) -> c.ModelConfig:
    """Of the bundle that the run begins with, with the task's head; or a new one for the tokenizer."""
    if beginning is not None:
        if beginning.config.kind != task.kind:
            raise UsageError(f"{beginning.path} is {beginning.config.kind}, and {options.task} is for {task.kind} models")
        config, own = plan.with_head(beginning.config, head), beginning.config.head.type
        if config.head.type != head.type:
            raise UsageError(f"{beginning.path} has a {own} head and no output layer of words, so {options.task} cannot begin "
                             f"with it; begin with the model that it was made of")
        if isinstance(config.head, c.LanguageModelHead) and config.head.soft_cap is not None:
            raise UsageError(f"{beginning.path} caps its logits at {config.head.soft_cap:g} (Gemma 2), which training does not "
                             f"do; begin with another bundle")
        return config
    config = plan.model_config(options, tokenizer.vocabulary_size, head)
    special = config.special
    if task.kind == "encoder-only":
        special = replace(special, prefix=(Tokenizer.bos,), suffix=(Tokenizer.eos,))
    elif task.kind == "decoder-only":
        special = replace(special, prefix=(Tokenizer.bos,))
    special = replace(special, mask=tokenizer.id_of("<mask>"))
    return replace(config, special=special).with_tokenizer(tokenizer.fingerprint, tokenizer.vocabulary_size)


def _amount(task: Task, examples: Sequence[Example]) -> int:
    """Examples that the size of a model goes by; texts of any length count as one for every hundred characters."""
    return sum(len(text) for text, _ in examples) // 100 if task.windows else len(examples)


def _count_tokens(tokenizer: Tokenizer, task: Task, examples: Sequence[Example], sample: int = 2000) -> int:
    """Tokens of all targets, or inputs where those are not texts, as far as an even sample of them tells."""
    chosen = examples[:: -(-len(examples) // sample)]
    texts = [target if task.kind == "encoder-decoder" and target else source for source, target in chosen]
    return sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts)) * len(examples) // len(chosen)


def _encode(folder: Path, options: TrainingOptions, config: c.ModelConfig, tokenizer: Tokenizer, pairs: list[Example],
            validation: list[Example], notes: list[str]) -> Run:
    task = find_task(options.task)
    train = task.encode(tokenizer, pairs, config)
    if not task.windows:
        train = _within(train, min(options.max_length, config.window.source, config.window.target), notes)
    if not validation:
        raise DataError(f"{', '.join(options.validation)}: no usable examples to validate on")
    encoded = task.encode(tokenizer, validation, config)
    kept = [i for i, pair in enumerate(encoded.lengths) if task.windows or pair.max() <= config.window.target]
    if not kept:
        raise DataError(f"none of {len(validation)} validation examples fits the window of {config.window.target} tokens")
    return Run(folder, options, config, tokenizer, task, train, task.epoch(encoded.rows(kept), config, None, options),
               [validation[i] for i in kept], notes)


def _within(examples: Encoded, limit: int, notes: list[str]) -> Encoded:
    """Examples of at most `limit` tokens, with a note of how many are left out. Raises DataError if none is left."""
    short = [i for i, lengths in enumerate(examples.lengths) if lengths.max() <= limit]
    dropped = len(examples) - len(short)
    if dropped:
        notes.append(f"{dropped} of {len(examples)} training examples are longer than {limit} tokens and are left out "
                     f"(--max-length)")
    if not short:
        raise DataError(f"none of {len(examples)} training examples is within {limit} tokens (--max-length)")
    return examples.rows(short)


# ---------------------------------------------------------------- data


def read_data(options: TrainingOptions) -> tuple[list[Example], list[Example], list[str]]:
    """Training examples, validation examples (held out if no file is given), and notes for the user."""
    task, root = find_task(options.task), Path(options.data_root)
    paths = [root / path for path in options.data]
    examples = task.read(paths, options)
    if options.validation:
        return examples, task.read([root / path for path in options.validation], options), []
    if not task.windows:
        data.require_examples(examples, paths)
    train, held = task.hold_out(examples, options.seed)
    what = f"{len(held)} of {len(examples)} examples are" if len(train) < len(examples) else "the last tenth of each text is"
    return train, held, [f"{what} held out for validation"]


def fingerprint(*parts: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for pair in part:
            digest.update("\t".join(pair).encode("utf-8", "surrogatepass") + b"\n")
        digest.update(b"\0")
    return "sha256:" + digest.hexdigest()[:16]


# ---------------------------------------------------------------- the folder


def _comparable(options: TrainingOptions) -> dict[str, Any]:
    """What must be equal for a run to go on, as JSON gives it back."""
    fields = {key: value for key, value in dataclasses.asdict(options).items() if key not in (*FREE, "out")}
    return json.loads(json.dumps(fields))


def _options(record: dict[str, Any]) -> TrainingOptions:
    tuples = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
    return TrainingOptions(**(record | tuples))


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / "options.json").read_text("utf-8"))
        for key in ("asked", "resolved", "config", "data"):
            record[key]
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'options.json'} is damaged ({error}); start again with --overwrite, or in "
                              f"another --out") from error


def _throw_away(folder: Path) -> None:
    """The run and the bundle it made; nothing else that is in its output folder."""
    shutil.rmtree(folder)
    for name in (*FILES, MANIFEST):
        (folder.parent / name).unlink(missing_ok=True)


def _refuse_other_run(out: Path, asked: TrainingOptions, record: dict[str, Any]) -> None:
    now, then = _comparable(asked), record["asked"]
    different = [f"{key} {then.get(key)!r} there, {now.get(key)!r} here" for key in sorted({*now, *then})
                 if now.get(key) != then.get(key)]
    if different:
        raise UsageError(f"{out} holds another run: {'; '.join(different)}. Choose another --out, repeat that run's "
                         f"command to go on with it, or throw it away with --overwrite")


def _refuse_foreign_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out needs a folder")
    foreign = sorted(path.name for path in out.iterdir() if path.name != "run") if out.exists() else []
    if foreign:
        raise UsageError(f"{out} holds something else ({', '.join(foreign[:3])}) and no run to go on with; choose "
                         f"another --out")
