"""Text files -> examples. What cannot be read is said with its place: file, line, byte.

Lines end at \\n only (a final \\r is dropped): other Unicode line separators occur inside sentences.
"""

from __future__ import annotations

import gzip
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
        raise DataError(f"{names}: {len(pairs)} usable sentence pairs; at least {at_least} are needed (a pair is "
                        f"a line with text in both columns, separated by a tab)")


def _read_file(path: Path, source: int, target: int) -> Iterator[Pair]:
    with _open(path) as stream:
        try:
            for number, line in enumerate(read_lines(stream, str(path)), 1):
                if line.strip():
                    pair = _columns(line, path, number, source, target)
                    if pair[0].strip() and pair[1].strip():
                        yield pair
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is not a whole gzip file ({error}); fetch or compress it again") from error


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
