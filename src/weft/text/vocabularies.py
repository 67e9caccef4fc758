"""Vocabularies in plain files: vocab.json with merges.txt (byte-level BPE) and vocab.txt (WordPiece)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from weft.errors import TokenizerError
from weft.text.settings import Settings, read_table


def byte_bpe(settings: Settings) -> Any:
    """GPT-2's tokenizer (Radford et al. 2019), which RoBERTa and BART have too. Raises TokenizerError."""
    vocabulary = read_vocabulary(settings.folder / "vocab.json")
    merges = read_merges(settings.folder / "merges.txt", vocabulary)
    hf = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.values.get("add_prefix_space", False)))
    hf.decoder = decoders.ByteLevel()
    return hf


def read_vocabulary(path: Path) -> dict[str, int]:
    """Piece -> id; the ids are 0, 1, 2, ... Raises TokenizerError."""
    values = read_table(path)
    ids = list(values.values())
    if not ids or any(type(index) is not int for index in ids) or sorted(ids) != list(range(len(ids))):
        raise TokenizerError(f"{path} is no vocabulary: it must give its {len(ids)} pieces the ids 0, 1, 2, ..., each once")
    return values


def read_merges(path: Path, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Pairs, the first to be joined first. Raises TokenizerError that names the line."""
    merges = []
    for number, line in enumerate(read_lines(path), 1):
        if (number == 1 and line.startswith("#version")) or not line:
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2:
            raise TokenizerError(f"{path}, line {number}: {line[:60]!r} is not two pieces with a space between them")
        unknown = [piece for piece in (*pair, "".join(pair)) if piece not in vocabulary]
        if unknown:
            raise TokenizerError(f"{path}, line {number}: {unknown[0]!r} is not in vocab.json; the two do not belong together")
        merges.append((pair[0], pair[1]))
    return merges


def wordpiece(settings: Settings) -> Any:
    """BERT's tokenizer (Devlin et al. 2019). Raises TokenizerError."""
    path = settings.folder / "vocab.txt"
    pieces = read_lines(path)
    unknown, values = settings.roles("wordpiece")["unk_token"], settings.values
    if len(set(pieces)) != len(pieces) or unknown not in pieces:
        raise TokenizerError(f"{path} is no vocabulary: its {len(pieces)} lines must be different pieces, {unknown} among them")
    hf = tokenizers.Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token=unknown))
    hf.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=bool(values.get("tokenize_chinese_chars", True)),
        strip_accents=values.get("strip_accents"), lowercase=bool(values.get("do_lower_case", True)))
    hf.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    hf.decoder = decoders.WordPiece(prefix="##")
    return hf


def read_lines(path: Path) -> list[str]:
    """Lines that end in a line feed, carriage return or both. Raises TokenizerError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"cannot read {path}: {error}") from error
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]
