"""Tokenizers of Hugging Face checkpoints: from the files of a folder, and back into one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, processors

from weft.errors import TokenizerError
from weft.text import marian, multilingual, rebuild, vocabularies
from weft.text.chat import TEMPLATE_BYTES
from weft.text.sentencepiece import Kind, Model, Piece, read_sentencepiece
from weft.text.settings import CLASSES, ROLELESS, Files, Settings, named_tokens, read_settings
from weft.text.tokenizer import Tokenizer

SENTENCEPIECE = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
LOOKED_FOR = (f"tokenizer.json, vocab.json with merges.txt, vocab.txt, {', '.join(SENTENCEPIECE)}, "
              f"{marian.FILES[0]} with vocab.json")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder: of tokenizer.json, else rebuilt from older files.

    Raises TokenizerError that names the file or says which were looked for.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder / "tokenizer.json")
    files = _find_files(folder)
    settings = read_settings(folder)
    build = {"byte_bpe": vocabularies.byte_bpe, "wordpiece": vocabularies.wordpiece, "sentencepiece": _sentencepiece,
             "marian": marian.read, "m2m100": multilingual.m2m100}
    settings.describe(files)
    hf = build[files](settings)
    _add_tokens(hf, settings, files)
    _dress(hf, settings, files)
    return Tokenizer(hf)


def _find_files(folder: Path) -> Files:
    present = {path.name for path in folder.iterdir() if path.is_file()}
    if set(marian.FILES) <= present:
        return "marian"
    if set(multilingual.M2M100_FILES) <= present and "merges.txt" not in present:
        return "m2m100"
    if {"vocab.json", "merges.txt"} <= present:
        return "byte_bpe"
    if "vocab.txt" in present:
        return "wordpiece"
    if present & set(SENTENCEPIECE):
        return "sentencepiece"
    raise TokenizerError(f"{folder} has no tokenizer; looked for {LOOKED_FOR}")


# ---------------------------------------------------------------- SentencePiece


def _sentencepiece(settings: Settings) -> Any:
    path = next(settings.folder / name for name in SENTENCEPIECE if (settings.folder / name).is_file())
    model = read_sentencepiece(path)
    if settings.name in ("T5", "MT5"):
        model = _with_extra_ids(model, settings)
    elif settings.name in ("XLMRoberta", *multilingual.CODES):
        model = multilingual.fairseq(model, settings)
    elif settings.name == "Pegasus":
        model = multilingual.pegasus(model, settings)
    space = settings.values.get("add_prefix_space")
    if isinstance(space, bool):
        model = replace(model, normalizer=replace(model.normalizer, add_dummy_prefix=space))
    try:
        return rebuild.build(model)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error


def _with_extra_ids(model: Model, settings: Settings) -> Model:
    """T5: what stands for a masked span, <extra_id_0> last."""
    count = settings.values.get("extra_ids", 100)
    if not isinstance(count, int) or not 0 <= count <= 10000:
        raise TokenizerError(f"{settings.folder / 'tokenizer_config.json'} has extra_ids = {count!r}; it must be 0 to 10000")
    extra = tuple(Piece(f"<extra_id_{index}>", kind=Kind.CONTROL) for index in reversed(range(count)))
    known = {piece.text for piece in model.pieces}
    return replace(model, pieces=model.pieces + tuple(piece for piece in extra if piece.text not in known))


# ---------------------------------------------------------------- special tokens and template


def _add_tokens(hf: Any, settings: Settings, files: Files) -> None:
    """Mark special tokens, and append those that the vocabulary file lacks. Raises TokenizerError if an id differs."""
    for role, text in settings.roles(files).items():
        if hf.token_to_id(text) is not None:
            lstrip = role == "mask_token" and files != "wordpiece"
            hf.add_special_tokens([AddedToken(text, normalized=False, special=True, lstrip=lstrip)])
    for index, token in sorted(settings.added.items()):
        if hf.token_to_id(token["content"]) is None or token.get("special"):
            hf.add_tokens([AddedToken(**token)])
        found = hf.token_to_id(token["content"])
        if found != index:
            raise TokenizerError(f"{settings.folder}: the added token {token['content']!r} should have id {index}, but the "
                                 f"vocabulary gives it {found}; the files do not belong together")


def _dress(hf: Any, settings: Settings, files: Files) -> None:
    """The template: what stands around one text, and around two."""
    before, after = _around(settings, files)
    ids = {token: hf.token_to_id(token) for token in (*before, *after)}
    missing = [token for token, index in ids.items() if index is None]
    if missing:
        raise TokenizerError(f"{settings.folder}: a text stands between special tokens, but the vocabulary lacks "
                             f"{' and '.join(missing)}")
    if not ids:
        return
    single = [*before, "$A", *after]
    layout = settings.describe(files).layout
    second = {"classify": ["$B:1", *(f"{token}:1" for token in after)], "pairs": [*after, "$B", *after]}
    pair = [*single, *second.get(layout, [*before, "$B", *after])]
    if layout in ("language_first", "language_last"):
        pair = [*before, "$A", "$B", *after]
    openings = [(token, hf.token_to_id(token)) for token in marian.language_tokens(hf.get_vocab())] if files == "marian" else []
    hf.post_processor = processors.TemplateProcessing(single, pair, [*ids.items(), *openings])


def _around(settings: Settings, files: Files) -> tuple[list[str], list[str]]:
    layout, roles, values = settings.describe(files).layout, settings.roles(files), settings.values
    if layout in ("classify", "pairs"):
        return [roles["cls_token"]], [roles["sep_token"]]
    if layout in ("language_first", "language_last"):
        language = multilingual.source_language(settings)
        first = layout == "language_first" and not values.get("legacy_behaviour")
        return ([language], [roles["eos_token"]]) if first else ([], [roles["eos_token"], language])
    switched = layout in ("begins", "switches")
    begins = switched and values.get("add_bos_token", layout == "begins")
    ends = values.get("add_eos_token", False) if switched else layout == "ends"
    return [roles["bos_token"]] if begins else [], [roles["eos_token"]] if ends else []


def tokenizer_files(tokenizer: Tokenizer, roles: Mapping[str, str], window: int, segments: bool) -> dict[str, str]:
    """tokenizer.json and the tokenizer_config.json that makes transformers use it.

    roles: role -> token. segments: the model reads which text of a pair each token is of (token_type_ids).
    """
    inputs = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if segments else {}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": window, **inputs, **roles}
    return {"tokenizer.json": tokenizer.to_json(), "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False)}


def read_chat_template(folder: Path, special: dict[str, str]) -> str | None:
    """chat_template.jinja, or that of tokenizer_config.json (its default where there are several); None without one.

    special: role -> token, as the bundle will say. Where the tokenizer's files say otherwise of a role that the template
    reads, a line at the template's beginning keeps it. Raises TokenizerError for a damaged or enormous file.
    """
    settings, path = read_settings(folder), folder / "chat_template.jinja"
    template = _read_template(path) if path.is_file() else settings.values.get("chat_template")
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        return None
    if not isinstance(template, str):
        raise TokenizerError(f"{folder / 'tokenizer_config.json'} has a chat_template that is no text")
    named = {role: "" for role, token in settings.values.items() if role.endswith("_token") and token is None}
    named |= named_tokens(settings.values)
    other = {role: token for role, token in named.items()
             if re.search(rf"\b{re.escape(role)}\b", template) and token != special.get(role, "")}
    lines = [f"{{%- set {role} = {json.dumps(token, ensure_ascii=False)} %}}\n" for role, token in other.items()]
    return "".join([*lines, template])


def _read_template(path: Path) -> str:
    try:
        if path.stat().st_size > TEMPLATE_BYTES:
            raise TokenizerError(f"{path} has {path.stat().st_size:,} bytes; a chat template has at most {TEMPLATE_BYTES:,}")
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"cannot read {path}: {error}") from error


def special_roles(folder: Path, tokenizer: Tokenizer) -> dict[str, str] | None:
    """Role (`mask_token`, `cls_token`, ...) -> token, as the folder's files say, else as the tokenizer's class has them;
    None where nothing is said and Weft does not know the class."""
    settings = read_settings(folder)
    usual = CLASSES[settings.name].roles if settings.name in CLASSES else {}
    silent = {role for role, token in settings.values.items() if token is None}
    named = {role: token for role, token in usual.items() if role not in silent} | named_tokens(settings.values)
    known = settings.name in CLASSES or settings.name in ROLELESS
    return {role: token for role, token in named.items() if tokenizer.id_of(token) is not None} if named or known else None


def special_ids(folder: Path, tokenizer: Tokenizer) -> dict[str, int]:
    """Role -> id, of special_roles."""
    found = {role: tokenizer.id_of(token) for role, token in (special_roles(folder, tokenizer) or {}).items()}
    return {role: index for role, index in found.items() if index is not None}
