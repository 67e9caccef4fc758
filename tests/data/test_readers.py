"""Readers: what they accept, and the message for each file they refuse."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from weft import data
from weft.errors import DataError


def test_reads_columns_and_skips_blanks(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbfa\tb\tc\r\n\n \t x\t\nd \"e\"\tf\xe2\x80\xa8g\th")
    assert data.read_pairs(path) == [("a", "b"), ('d "e"', "f\u2028g")]
    assert data.read_pairs([path, path], 2, 0) == [("c", "a"), ("h", 'd "e"')] * 2
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert data.read_pairs(packed) == data.read_pairs(path)


def refused(path: Path, content: bytes | None, *columns: int) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        pairs = data.read_pairs(path, *columns)
        data.require_examples(pairs, [path])
    return str(error.value)


def test_messages(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    message = refused(path, b"a\tb\nc,d" + b"y" * 100 + b"\n")
    assert f"{path}, line 2: 1 columns" in message and "separated by a tab, and this line has none" in message
    assert repr("c,d" + "y" * 77) in message and "y" * 78 not in message
    assert "line 1: 2 columns, but columns 0 and 4" in refused(path, b"a\tb\n", 0, 4)
    message = refused(path, b"a\tb\nc\t\xff\n")
    assert f"{path}, line 2: byte 0xff at offset 6 (column 2 of the line) is not UTF-8" in message
    assert "0 usable examples; at least 2 are needed" in refused(path, b"")
    assert "1 usable examples" in refused(path, b"a\tb\n")
    assert f"no file {tmp_path / 'none.tsv'}" in refused(tmp_path / "none.tsv", None)
    assert "is a folder" in refused(tmp_path, None)
    whole = gzip.compress(b"a\tb\n" * 5000)
    assert "is not a whole gzip file" in refused(tmp_path / "x.tsv.gz", whole[:-20])
    assert "is not a whole gzip file" in refused(tmp_path / "x.tsv.gz", b"a\tb\n")


def test_lines_stream_and_name_the_bad_byte() -> None:
    lines = data.read_lines(io.BytesIO(b"a\n\nb\x85\xc3\n"), "letters")
    assert [next(lines), next(lines)] == ["a", ""]
    with pytest.raises(DataError, match=r"letters, line 3: byte 0x85 at offset 4"):
        next(lines)
