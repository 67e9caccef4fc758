"""Checkpoints of Hugging Face transformers in and out. Weights are read from safetensors only; nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from weft.bundle import CHAT_TEMPLATE, Bundle, read_json, save_bundle, write_flushed, write_together
from weft.card import imported_card
from weft.errors import BundleError, ConfigError, UnknownNameError, UsageError, WeftError
from weft.families.family import Family, families, find_family, settle, wholes
from weft.families.foreign import PROBLEMS, ForeignConfig
from weft.families.generation import KEYS, read_generation, write_generation
from weft.families.wholes import text_config, text_tensors
from weft.foreign_weights import INDEX, read_tensors, read_weights, write_weights, written
from weft.pooling import pooling_files, read_pooling
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.tagged import from_dict
from weft.tensors import Stored, write_file
from weft.text import Tokenizer
from weft.text.chat import special_texts
from weft.text.foreign import read_chat_template, read_tokenizer, special_ids, special_roles, tokenizer_files
from weft.text.multilingual import language_code

FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.jinja"]
PASSED_OVER = ["consolidated*", "original/*", "onnx/*", "openvino/*", "*.fp16.*", "*.bf16.*"]
"""The same weights again, by their authors' own names, for other programs, or in fewer bits."""
TASKS = {"encoder-decoder": "translate", "decoder-only": "complete", "encoder-only": "fill"}
"""What a language model of each kind is for; other heads say it themselves."""
HEAD_TASKS = {"classification": "classify", "tag": "tag", "embedding": "embed"}


@dataclass(frozen=True)
class Imported:
    """What came in. dropped: (tensor, reason) of what is not kept. notes: what a user has to choose."""

    path: Path
    family: str
    config: c.ModelConfig
    dropped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- in


def import_checkpoint(source: str | Path, out: str | Path, *, ignore_keys: Iterable[str] = ()) -> Imported:
    """A Hugging Face folder (or hub id) to a bundle.

    Raises ConfigError (keys or values Weft does not know), BundleError (tensors that do not fit, all at once; pickles;
    damaged files), TokenizerError, UnknownNameError (model_type or architecture).
    """
    folder = find_checkpoint(str(source))
    if Path(out).exists() and Path(out).samefile(folder):
        raise UsageError(f"{out} is the checkpoint itself, whose config.json would be lost; choose another folder")
    name, family, config = read_config(folder, ignore_keys)
    stored, beside = read_text_tensors(folder)
    config = settle(family, config, stored, lambda name, other: stored[name].equals(stored[other]))
    tokenizer = read_tokenizer(folder)
    roles = special_roles(folder, tokenizer)
    config, tokenizer = _with_tokenizer(folder, config, tokenizer)
    if isinstance(config.head, c.EmbeddingHead):
        config = replace(config, head=read_pooling(folder, config.head))
    tensors, dropped = read_weights(folder, family, config, stored)
    generation, passed_over = read_defaults(folder, config)
    dropped += [*beside, *passed_over]
    task = TASKS[config.kind] if isinstance(config.head, c.LanguageModelHead) else HEAD_TASKS[config.head.type]
    card = imported_card(config, family=name, source=Path(str(source)).name, task=task,
                         size=sum(tensor.bits.nbytes for tensor in tensors.values()), dropped=dropped, generation=generation)
    template = read_chat_template(folder, special_texts(config.special, tokenizer))
    path = save_bundle(out, config, tensors, tokenizer.to_json(), generation, card, task=task, family=name,
                       chat_template=template, roles=roles)
    return Imported(path, name, config, tuple(dropped), tuple(_notes(config, tokenizer)))


def _notes(config: c.ModelConfig, tokenizer: Tokenizer) -> Iterator[str]:
    """The languages of a translator between many."""
    codes = {index: code for token, index in tokenizer.special_tokens.items() if (code := language_code(token))}
    if config.kind != "encoder-decoder" or not codes or tokenizer.openings:
        return
    read = ", ".join(codes[token] for token in (*config.special.prefix, *config.special.ending) if token in codes)
    yield (f"it knows {len(codes)} languages, {', '.join(sorted(codes.values())[:3])}, ...: choose with weft translate --from "
           f"CODE --to CODE. Without --from, texts count as {read or 'in none of them'}; without --to, it is free to choose")


def find_checkpoint(source: str) -> Path:
    """The folder itself, or a hub repository's files brought here. Raises BundleError."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BundleError(f"{folder} is no Hugging Face checkpoint: it lacks config.json")
        return folder
    if folder.exists():
        raise BundleError(f"{folder} is a file; a Hugging Face checkpoint is a folder with config.json and *.safetensors")
    if source.count("/") != 1 or source.startswith((".", "/")):
        raise BundleError(f"no folder {source}, and a hub id has the form owner/name; the current folder is {Path.cwd()}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UsageError(f"no folder {source}; to fetch it from the hub: pip install 'weft[hub]'") from error
    try:
        return Path(snapshot_download(source, allow_patterns=FETCHED, ignore_patterns=PASSED_OVER))
    except Exception as error:  # the library's own tree of errors, and those of its HTTP client
        raise BundleError(f"no folder {source}, and it cannot be fetched from the hub: {error}. Is the machine online, the "
                          f"name right, and access granted?") from error


def read_config(folder: Path, ignore_keys: Iterable[str] = ()) -> tuple[str, Family, c.ModelConfig]:
    """Name of the family, the family, and the model's config."""
    values, _ = read_values(folder)
    name, family = find_family(values["model_type"])
    foreign = ForeignConfig(values)
    foreign.expect("add_cross_attention", False)
    head = _head_kind(family, values)
    if head == "classification":
        foreign.expect("problem_type", "single_label_classification", *PROBLEMS.values())
    config = _read_model(family, foreign, head)
    foreign.refuse_unread((*getattr(family, "IGNORED", ()), *ignore_keys))
    return name, family, config


def read_values(folder: Path) -> tuple[dict[str, Any], bool]:
    """config.json of the model that reads text, and whether that is within another. Raises BundleError or ConfigError."""
    path = folder / "config.json"
    values = read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; a Hugging Face checkpoint has a table of keys there")
    if not isinstance(values.get("model_type"), str):
        raise ConfigError(f"{path} names no model_type; it is no Hugging Face checkpoint")
    whole = wholes(find_family(values["model_type"])[1]).get(values["model_type"])
    return (values, False) if whole is None else (text_config(values, whole), True)


def read_text_tensors(folder: Path) -> tuple[dict[str, Stored], list[tuple[str, str]]]:
    """Tensors of the model that reads text, and (name, reason) of those around it. Raises BundleError."""
    stored = read_tensors(folder)
    return text_tensors(stored) if read_values(folder)[1] else (stored, [])


def _read_model(family: Family, foreign: ForeignConfig, head: str) -> c.ModelConfig:
    """The model's config, every value of it checked: a file may hold anything, and families take it for what it should be."""
    try:
        return c.ModelConfig.from_dict(family.read_config(foreign, head).to_dict())
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, StopIteration) as error:
        key = foreign.latest
        raise ConfigError(f"the checkpoint's config.json cannot be understood ({error!r}); the likeliest cause is {key} = "
                          f"{foreign.values.get(key)!r:.60}") from error


def _head_kind(family: Family, values: Mapping[str, Any]) -> str:
    named = values.get("architectures") or [next(iter(family.ARCHITECTURES))]
    if not isinstance(named, list):
        raise ConfigError(f"the checkpoint's config.json has architectures = {named!r:.60}; it must be a list of names")
    if str(named[0]) not in family.ARCHITECTURES:
        raise UnknownNameError(f"architecture of {values['model_type']}", str(named[0]), family.ARCHITECTURES)
    return family.ARCHITECTURES[named[0]]


def _with_tokenizer(folder: Path, config: c.ModelConfig, tokenizer: Tokenizer) -> tuple[c.ModelConfig, Tokenizer]:
    """The config with the tokenizer's fingerprint and what it puts around a text, which a plain template then need not say
    again (export puts it back). Raises ConfigError if the tokenizer is too big."""
    if tokenizer.rows > config.vocabulary:
        raise ConfigError(f"{folder}: the tokenizer's ids need {tokenizer.rows:,} rows, the model's embedding (vocab_size) has "
                          f"{config.vocabulary:,}; they do not belong together. Take the tokenizer that the model was "
                          f"trained with")
    prefix, suffix = _around(config, tokenizer)
    roles = special_ids(folder, tokenizer)
    special = replace(config.special, prefix=prefix, suffix=suffix, mask=roles.get("mask_token"), unk=roles.get("unk_token"))
    if (prefix, suffix or ()) == tokenizer.around:
        tokenizer = tokenizer.without_template(*tokenizer.around)
    return replace(config, tokenizer=tokenizer.fingerprint, special=special), tokenizer


def _around(config: c.ModelConfig, tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """What stands around a text. An encoder learns from eos where its source ends, whether the tokenizer's template has it
    or not; a prompt that ended with it would be over before the model goes on."""
    prefix, suffix = tokenizer.around
    if config.kind == "encoder-decoder":
        return prefix, suffix or None
    if config.kind == "decoder-only" and isinstance(config.head, c.LanguageModelHead):
        return prefix, None
    return prefix, suffix


def read_defaults(folder: Path, config: c.ModelConfig) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Options of decoding by generation_config.json, or without one by config.json; and (key, reason) of what is left out.

    Raises ConfigError.
    """
    path, (text, _) = folder / "generation_config.json", read_values(folder)
    path, values = (path, read_json(path)) if path.is_file() else (folder / "config.json", text)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; it must be a table of keys")
    if config.decoder is None or not isinstance(config.head, c.LanguageModelHead):
        return {"beams": 1}, []
    ends = values.get("eos_token_id") or text.get("eos_token_id")
    try:
        found, dropped = read_generation(values | {"eos_token_id": ends}, config)
        from_dict(GenerationOptions, found)
    except WeftError as error:
        raise ConfigError(f"{path} ({', '.join(key for key in KEYS if values.get(key) is not None)}): {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be understood: {error!r}") from error
    return {"beams": 1} | found, [(key, f"{path.name} has {reason}") for key, reason in dropped]


# ---------------------------------------------------------------- out


def export_bundle(bundle: Bundle, out: str | Path, family_name: str | None = None) -> Path:
    """A bundle to a folder that Hugging Face transformers opens. Raises UsageError if the family cannot say the config."""
    known = dict(families())
    name = family_name or bundle.family
    if name is None:
        raise UsageError(f"{bundle.path} was trained by Weft, so say in which family's format to write it: --family with one "
                         f"of {', '.join(sorted(known))}")
    if name not in known:
        raise UnknownNameError("family", name, known)
    family, folder = known[name], Path(out)
    _check_target(bundle, folder)
    values = foreign_config(family, bundle.config)
    tensors = write_weights(family, bundle)
    kinds = {tensor.kind for tensor in tensors.values()}
    values["dtype"] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[kinds.pop() if len(kinds) == 1 else "F32"]
    tokenizer = Tokenizer.from_json(bundle.tokenizer_json)
    special = bundle.config.special
    roles = special_texts(special, tokenizer) if bundle.roles is None else bundle.roles
    texts = tokenizer_files(tokenizer.with_template(special.prefix, special.suffix or ()), roles, bundle.config.window.source,
                            segments=bundle.config.embedding.types > 1)
    if bundle.chat_template is not None:
        texts[CHAT_TEMPLATE] = bundle.chat_template
    texts |= {"config.json": json.dumps(values, indent=2), **pooling_files(bundle.config)}
    if bundle.config.decoder is not None and isinstance(bundle.config.head, c.LanguageModelHead):
        texts["generation_config.json"] = json.dumps(write_generation(bundle.generation, bundle.config), indent=2)
    try:
        for file in texts:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_together(folder, {
            "model.safetensors": lambda path: write_file(path, tensors, {"format": "pt"}),
            **{file: partial(write_flushed, content=text.encode()) for file, text in texts.items()}})
    except OSError as error:
        raise BundleError(f"cannot write {folder}: {error.strerror}") from error
    return folder


def _check_target(bundle: Bundle, folder: Path) -> None:
    """Raises UsageError for a folder where the checkpoint would destroy or be hidden by what is there."""
    if folder.exists() and folder.samefile(bundle.path):
        raise UsageError(f"{folder} is the bundle itself, whose config.json and tokenizer.json would be lost; choose another "
                         f"folder")
    if (folder / INDEX).exists():
        raise UsageError(f"{folder} has {INDEX} of another checkpoint, by which the new weights would not be found; choose "
                         f"another folder")


def foreign_config(family: Family, config: c.ModelConfig) -> dict[str, Any]:
    """The foreign config.json. Raises UsageError with the fields that the family's format has no word for."""
    names, format = [name for name, kind in family.ARCHITECTURES.items() if kind == config.head.type], family.MODEL_TYPES[0]
    if not names:
        heads = ", ".join(sorted(set(family.ARCHITECTURES.values())))
        raise UsageError(f"the format of {format} has no {config.head.type} head; it has {heads}")
    special = config.special
    try:
        values = {"architectures": [names[0]], **family.write_config(config), "bos_token_id": special.bos,
                  "eos_token_id": special.eos, "pad_token_id": special.pad}
    except (AssertionError, AttributeError, KeyError) as error:
        raise UsageError(f"the format of {format} is for other models than this one, which is {config.kind}; choose a family "
                         f"of that kind") from error
    if config.kind == "encoder-decoder":
        values["decoder_start_token_id"] = special.start
    if isinstance(config.head, (c.ClassificationHead, c.TagHead)):
        values |= {"id2label": {str(i): label for i, label in enumerate(config.head.labels)},
                   "label2id": {label: i for i, label in enumerate(config.head.labels)}}
    if isinstance(config.head, c.ClassificationHead):
        kind = next((kind for field, kind in PROBLEMS.items() if getattr(config.head, field)), None)
        values |= {} if kind is None else {"problem_type": kind}
    try:
        again = _read_model(family, ForeignConfig(values), config.head.type)
    except ConfigError as error:
        raise UsageError(f"the format of {format} cannot say all of this model: {error}") from error
    again = settle(family, again, {name for rule in written(family, again) for name in rule.theirs}, lambda *_: False)
    if isinstance(config.head, c.EmbeddingHead):  # other files tell (weft.pooling)
        again = replace(again, head=config.head)
    again = replace(again, tokenizer=config.tokenizer, special=special)
    if again != config:
        lost = differences(again.to_dict(), config.to_dict())
        raise UsageError(f"the format of {format} cannot say all of this model: {'; '.join(lost)}")
    return values


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """`path: theirs there, ours here` of every leaf that differs."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [line for key in sorted({*theirs, *ours})
                for line in differences(theirs.get(key), ours.get(key), f"{path}.{key}".lstrip("."))]
    return [] if theirs == ours else [f"{path} would be {theirs!r}, not {ours!r}"]
