"""Packed weights beside a bundle: they change nothing but the time that opening takes, and are never taken for another's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import bundles
from weft import beside
from weft.bundle import Bundle, open_bundle
from weft.errors import BundleError
from weft.model import load
from weft.tensors import Stored

pytest.importorskip("weft._native", reason="the engine is not built")
PROMPTS = [[7, 8, 9], [6, 5, 9, 9, 4]]


@pytest.fixture(name="folder", params=["bart", "llama", "t5"])
def _folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(beside, "WORTH", 0)
    return bundles.bundle(tmp_path / "b", request.param)


def answers(folder: Path, precision: str = "fp32") -> list[tuple[int, ...]]:
    model = load(folder, backend="native", precision=precision)
    found = model.generate(PROMPTS, max_new_tokens=6)
    return [(*one.tokens, *np.round(np.array(one.logprobs) * 2**40).astype(int).tolist()) for one in found]


def packs(folder: Path) -> list[Path]:
    return sorted((folder / ".cache").glob("*.pack"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_second_time_is_as_the_first(folder: Path, precision: str) -> None:
    first = answers(folder, precision)
    (pack,) = packs(folder)
    written = pack.stat().st_mtime_ns
    assert answers(folder, precision) == first
    assert packs(folder) == [pack] and pack.stat().st_mtime_ns == written
    model = load(folder, backend="native", precision=precision)
    image = b"".join(piece.tobytes() for piece in model.runner.model.image())
    assert pack.read_bytes()[4096:] == image


def test_weights_that_changed_are_packed_again(folder: Path, tmp_path: Path) -> None:
    first = answers(folder)
    other = bundles.bundle(tmp_path / "other", "bart" if "encoder" in (folder / "config.json").read_text() else "llama")
    for name in ("config.json", "weights.safetensors", "manifest.json", "tokenizer.json"):
        shutil.copy(other / name, folder / name)
    os.environ["WEFT_PACKS"] = "0"
    try:
        wanted = answers(other)
    finally:
        del os.environ["WEFT_PACKS"]
    assert answers(folder) == wanted
    assert first  # what was there before is gone


@pytest.mark.parametrize("damage", ["short", "long", "head", "empty"])
def test_a_pack_that_is_damaged_is_not_used(folder: Path, damage: str) -> None:
    first = answers(folder)
    (pack,) = packs(folder)
    whole = pack.read_bytes()
    changed = {"short": whole[:-64], "long": whole + bytes(64), "head": b"{}" + whole[2:], "empty": b""}[damage]
    pack.write_bytes(changed)
    assert answers(folder) == first
    assert pack.read_bytes() == whole


def test_a_pack_cut_while_it_is_open_ends_in_an_error_not_in_the_process(tmp_path: Path) -> None:
    code = """
import sys
from tests import bundles
from weft import beside
from weft.model import load
from weft.tensors import Stored
beside.WORTH = 0
from pathlib import Path
folder = bundles.bundle(Path(sys.argv[1]) / "b", "llama")
load(folder, backend="native").generate([[7, 8]], max_new_tokens=2)
model = load(folder, backend="native")
model.runner
(pack,) = (folder / ".cache").glob("*.pack")
with open(pack, "r+b") as file:
    file.truncate(4096)
try:
    model.generate([[7, 8]], max_new_tokens=2)
except Exception as error:
    print(type(error).__name__, error)
print(load(folder, backend="native").generate([[7, 8]], max_new_tokens=2)[0].tokens != ())
"""
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True,
                           cwd=Path(__file__).parents[2])
    assert found.returncode == 0, found.stderr
    assert "cut short" in found.stdout and found.stdout.endswith("True\n")


def test_a_folder_that_cannot_be_written_to_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")
    monkeypatch.setattr(beside, "keep", refuse)
    assert answers(folder)
    assert not (folder / ".cache").exists()


def test_packs_can_be_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_PACKS", "0")
    assert answers(folder)
    assert not packs(folder)


def test_a_copy_brings_no_facts_along(folder: Path, tmp_path: Path) -> None:
    def known(of: Path) -> dict[str, dict[str, str]]:
        return beside.recall(of, beside.identities(of, ["weights.safetensors", "tokenizer.json"]))
    open_bundle(folder)
    assert known(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert known(copy) == {}


def test_damage_after_the_first_opening_is_seen(folder: Path) -> None:
    open_bundle(folder)
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match="SHA-256"):
        open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"weights.safetensors": 3}', json.dumps({"x": {"of": 1}}).encode()])
def test_facts_that_make_no_sense_are_none(folder: Path, content: bytes) -> None:
    open_bundle(folder)
    facts = folder / ".cache" / "facts.json"
    before = facts.read_bytes()
    facts.write_bytes(content)
    open_bundle(folder)
    assert facts.read_bytes() == before


@pytest.mark.parametrize("known", [3, None, [], {}, {"sha256": 7}])
def test_facts_of_the_right_file_that_make_no_sense_are_none(folder: Path, known: object) -> None:
    open_bundle(folder)
    facts = folder / ".cache" / "facts.json"
    before = facts.read_bytes()
    facts.write_text(json.dumps({name: entry | {"known": known} for name, entry in json.loads(before).items()}))
    open_bundle(folder)
    assert facts.read_bytes() == before


def test_weights_that_change_while_they_are_packed_leave_no_pack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = folder / "weights.safetensors"
    read = Bundle.tensors

    def tensors(bundle: Bundle) -> dict[str, Stored]:
        found = read(bundle)
        shutil.copy(weights, folder / "new")
        os.replace(folder / "new", weights)
        return found
    monkeypatch.setattr(Bundle, "tensors", tensors)
    assert answers(folder)
    assert not packs(folder)
