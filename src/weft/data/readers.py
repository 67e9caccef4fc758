"""Text files -> examples. What cannot be read is said with its place: file, line, byte.

Lines end at \\n only (a final \\r is dropped): other Unicode line separators occur inside sentences.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from weft.errors import DataError

Pair = tuple[str, str]
BOM = b"\xef\xbb\xbf"


def read_lines(stream: IO[bytes], name: str = "standard input") -> Iterator[str]:
    """Lines of a binary stream as they come, without their ends. Blank lines are kept."""
    offset = 0
    for number, line in enumerate(stream, 1):
        text = _decode(line.removeprefix(BOM) if number == 1 else line, name, number, offset)
        offset += len(line)
        yield text.removesuffix("\n").removesuffix("\r")


def read_pairs(paths: str | Path | Sequence[str | Path], source_column: int = 0, target_column: int = 1
               ) -> list[Pair]:
    """Columns of tab-separated files (.tsv, .tsv.gz) in order. Blank lines and pairs with a blank side are skipped.

    Quotes are plain characters; there is no header. Raises DataError.
    """
    files = [paths] if isinstance(paths, (str, Path)) else paths
    return [pair for path in files for pair in _read_file(Path(path), source_column, target_column)]


def require_examples(pairs: Sequence[Pair], paths: Sequence[str | Path], at_least: int = 2) -> None:
    """Raises DataError if there is too little to train on."""
    if len(pairs) < at_least:
        names = ", ".join(str(path) for path in paths)
        raise DataError(f"{names}: {len(pairs)} usable examples; at least {at_least} are needed (one is a line "
                        f"with text in both columns, separated by a tab)")


def _read_file(path: Path, source: int, target: int) -> Iterator[Pair]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            pair = _columns(line, path, number, source, target)
            if pair[0].strip() and pair[1].strip():
                yield pair


def _open(path: Path) -> IO[bytes]:
    try:
        return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb"))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; the current folder is {Path.cwd()}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; name a .tsv or .tsv.gz file in it") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _columns(line: str, path: Path, number: int, source: int, target: int) -> Pair:
    parts = line.split("\t")
    needed = max(source, target) + 1
    if len(parts) < needed:
        cause = "; columns are separated by a tab, and this line has none" if len(parts) == 1 else ""
        raise DataError(f"{path}, line {number}: {len(parts)} columns, but columns {source} and {target} are asked for "
                        f"(counted from 0){cause}. The line begins: {line[:80]!r}")
    return parts[source], parts[target]


def _decode(line: bytes, name: str, number: int, offset: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, line {number}: byte 0x{line[error.start]:02x} at offset {offset + error.start} (column "
                        f"{error.start} of the line) is not UTF-8; convert the file first, e.g. iconv -f latin1 -t utf-8"
                        ) from error


def texts(pairs: Iterable[Pair]) -> Iterator[str]:
    """All sides of all pairs, for a tokenizer that serves both languages."""
    for source, target in pairs:
        yield source
        yield target


def read_texts(paths: Sequence[str | Path], column: int = 0) -> list[str]:
    """Texts of files: a .txt is one; of a .jsonl every line's "text", of a .tsv every line's column. Also as .gz.

    Blank ones are skipped. Raises DataError.
    """
    found = [text for path in map(Path, paths) for text in _texts_of(path, column) if text.strip()]
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no text")
    return found


def _texts_of(path: Path, column: int) -> Iterator[str]:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    lines = _lines(path)
    if kind == "jsonl":
        yield from (_json_text(line, path, number) for number, line in enumerate(lines, 1) if line.strip())
    elif kind == "tsv":
        yield from (_columns(line, path, number, column, column)[0] for number, line in enumerate(lines, 1) if line.strip())
    else:
        yield "\n".join(lines)


def _lines(path: Path) -> Iterator[str]:
    with _open(path) as stream:
        try:
            yield from read_lines(stream, str(path))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is not a whole gzip file ({error}); fetch or compress it again") from error


def _json_text(line: str, path: Path, number: int) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number} is not JSON ({error}). The line begins: {line[:80]!r}") from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f"{path}, line {number} has no \"text\". The line begins: {line[:80]!r}")
    return value["text"]


def read_tagged(paths: Sequence[str | Path]) -> list[Pair]:
    """(words, tags), each joined by spaces, of files with `word TAB tag` a line and a blank line after each sentence.

    Raises DataError for a line that is neither, and for a tag that is not O, B-... or I-....
    """
    found = []
    for path in map(Path, paths):
        sentence: list[Pair] = []
        for number, line in enumerate(itertools.chain(_lines(path), [""]), 1):
            if line.strip():
                sentence.append(_tagged_word(line, path, number))
            elif sentence:
                words, tags = zip(*sentence, strict=True)
                found.append((" ".join(words), " ".join(tags)))
                sentence = []
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no sentences")
    return found


def _tagged_word(line: str, path: Path, number: int) -> Pair:
    parts = line.split("\t")
    if len(parts) != 2:
        raise DataError(f"{path}, line {number}: {len(parts)} columns, but a word and its tag are asked for, separated by a "
                        f"tab. The line begins: {line[:80]!r}")
    word, tag = "".join(parts[0].split()) or "\ufffd", parts[1].strip()
    if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag.split()) != 1):
        raise DataError(f"{path}, line {number}: the tag {tag[:40]!r} is none of O, B-... and I-...")
    return word, tag
