"""Safetensors files that lie or are damaged: each is refused in words, without reading what is not there."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import BundleError
from weft.tensors import Stored, narrow, read_file, read_header, write_file

DATA = bytes(64)


def entry(kind: str = "F32", shape: Any = (16,), begin: int = 0, end: int = 64) -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}


def written(path: Path, header: object, data: bytes = DATA, size: int | None = None) -> Path:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(head) if size is None else size).to_bytes(8, "little") + head + data)
    return path


TWICE = b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2)


@pytest.mark.parametrize(("header", "data", "size", "message"), [
    ({"a": entry(end=60)}, DATA, None, "invalid shape, data type, or offset"),
    ({"a": entry(begin=4, end=68)}, DATA, None, "invalid offset"),
    ({"a": entry(shape=(8,), end=32), "b": entry(shape=(8,), begin=16, end=48)}, DATA, None, "invalid offset"),
    ({"a": entry()}, DATA[:-1], None, "file not fully covered"),
    ({"a": entry()}, DATA + b"x", None, "file not fully covered"),
    ({"a": entry(shape=(-16,))}, DATA, None, "invalid value: integer `-16`"),
    ({"a": entry(shape=(2**62, 4))}, DATA, None, "overflow"),
    ({"a": entry(shape=(*[1] * 80, 16))}, DATA, None, "a tensor's shape is beyond any model"),
    ({"a": entry(shape=(0, 2**63), end=0), "b": entry()}, DATA, None, "a tensor's shape is beyond any model"),
    ({"a": entry("I64", (8,))}, DATA, None, "weights are stored as float32, float16, bfloat16, but a is I64"),
    ({"a": entry("F8_E4M3", (64,))}, DATA, None, "but a is F8_E4M3"),
    ({"a": entry("Q4", (64,))}, DATA, None, "unknown variant `Q4`"),
    (TWICE, DATA, None, "its header has 'a' twice"),
    ({"a": entry()}, DATA, 2**40, "its header would have 1,099,511,627,776 bytes, above the limit of 33,554,432"),
    ({"a": entry()}, DATA, 2**64 - 1, "above the limit"),
    ({"a": entry()}, DATA, 1000, "invalid header length"),
    (b"no JSON here", DATA, None, "invalid JSON in header"),
    (b"[1]", DATA, None, "invalid JSON in header"),
    (b"[" * 3000, DATA, None, "invalid JSON in header"),
    (b"", b"", 0, "invalid JSON in header"),
])
def test_damage_is_named(tmp_path: Path, header: object, data: bytes, size: int | None, message: str) -> None:
    path = written(tmp_path / "x.safetensors", header, data, size)
    with pytest.raises(BundleError) as error:
        read_file(path)
    assert message in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_empty_and_truncated_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"header too small\. It is damaged, incomplete or no safetensors file; copy or"):
        read_header(tmp_path / "x.safetensors")
    with pytest.raises(BundleError, match="No such file"):
        read_file(tmp_path / "none.safetensors")


def test_other_kinds_come_on_request_without_their_numbers(tmp_path: Path) -> None:
    header = {"a": entry("I64", (2, 4)), "b": entry(shape=(2, 8), begin=64, end=128)}
    path = written(tmp_path / "x.safetensors", header, DATA * 2)
    found = read_file(path, others=True)
    assert (found["a"].kind, found["a"].shape, found["a"].is_weight) == ("I64", (2, 4), False)
    assert found["b"].is_weight and found["b"].bits.shape == (2, 8)


def test_a_mapped_file_may_be_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_file(path, {"a": Stored(np.arange(4, dtype="<f4"), "F32")})
    before = read_file(path)["a"]
    write_file(path, {"a": Stored(np.zeros(2, "<f4"), "F32")})
    assert before.bits.tolist() == [0, 1, 2, 3] and read_file(path)["a"].bits.tolist() == [0, 0]


KINDS = st.sampled_from(["F32", "F16", "BF16", "I64", "F8_E5M2", "BOOL", "C64", "", 3, None])
SIZES = st.one_of(st.integers(-2, 70), st.integers(-(2**70), 2**70))
ENTRIES = st.fixed_dictionaries({"dtype": KINDS, "shape": st.lists(SIZES, max_size=4),
                                 "data_offsets": st.lists(SIZES, max_size=3)})
HEADERS = st.dictionaries(st.text(max_size=4), st.one_of(ENTRIES, st.none(), st.integers(), st.text(max_size=3)), max_size=4)


def read_whatever(path: Path) -> None:
    """Reading gives tensors or a BundleError, and takes little memory."""
    tracemalloc.start()
    try:
        for tensor in read_file(path, others=True).values():
            assert tensor.bits.nbytes >= 0
            if tensor.is_weight:
                tensor.wide()
    except BundleError:
        pass
    finally:
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


@given(st.one_of(st.binary(max_size=200), st.builds(lambda head, data: len(head).to_bytes(8, "little") + head + data,
                                                     HEADERS.map(lambda header: json.dumps(header).encode()),
                                                     st.binary(max_size=80))))
@settings(deadline=None, max_examples=200)
def test_anything_may_stand_in_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    read_whatever(path)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_changed_bytes_of_a_sound_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    tensors = {"a.weight": Stored(np.ones((4, 3), "<f4"), "F32"), "b": Stored(np.ones(5, "<f2"), "F16")}
    write_file(path, tensors, {"format": "pt"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"x")
    path.unlink()
    path.write_bytes(bytes(content))
    read_whatever(path)


def test_equal_numbers_of_any_kind() -> None:
    numbers = np.random.default_rng(0).standard_normal((700, 601)).astype(np.float32)  # more than a chunk
    half = narrow("x", numbers, "float16")
    wide, other = Stored(half.wide(), "F32"), Stored(half.wide(), "F32")
    other.bits[-1, -1] += 1e-3
    assert half.equals(half) and half.equals(wide) and wide.equals(half)
    assert not half.equals(other) and not wide.equals(other) and not wide.equals(Stored(wide.bits.ravel(), "F32"))
    assert not Stored(np.zeros(3), "I64").equals(Stored(np.zeros(3), "I64"))  # whose numbers are not read
