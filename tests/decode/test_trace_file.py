"""A trace is saved and loaded without loss, in one way only; what is no sound trace is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import weft
from weft.errors import DataError
from weft.spec.decoding_trace import KEY, VERSION, DecodingTrace, _digest, _split

WAYS = [{"n_best": 2}, {"sample": True, "top_p": 0.9, "stop": ["."], "logprobs": 2}, {"max_new_tokens": 0},
        {"penalty_alpha": 0.6, "top_k": 3}, {"lookup": 4}, {"draft": "fr-en", "sample": True}]


@pytest.fixture(scope="module", name="model")
def _model() -> weft.Model:
    return weft.load("fr-en")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_saved_and_loaded_without_loss(model: weft.Model, tmp_path: Path, way: dict) -> None:
    trace = model.trace(["Le chat dort, le chat dort, le chat dort.", "Bonjour."], layers=[0], **way)
    trace.save(tmp_path / "one.trace")
    back = DecodingTrace.load(tmp_path / "one.trace")
    arrays: dict[str, np.ndarray] = {}
    others: dict[str, np.ndarray] = {}
    assert _split(trace, "", arrays) == _split(back, "", others)
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype and np.array_equal(array, others[name], equal_nan=array.dtype.kind == "f")
    assert back.requests[0].results == trace.requests[0].results and back.options == trace.options
    assert [path.name for path in tmp_path.iterdir()] == ["one.trace"]
    assert bool(trace.requests[0].guesses) == ("lookup" in way or "draft" in way) and (trace.draft == way.get("draft", ""))


def test_equal_traces_make_equal_files(model: weft.Model, tmp_path: Path) -> None:
    contents = set()
    for place in range(12):
        trace = model.trace("Le chat dort.", beams=2, layers=[0])
        trace.save(tmp_path / str(place))
        DecodingTrace.load(tmp_path / str(place)).save(tmp_path / f"again {place}")
        contents |= {(tmp_path / name).read_bytes() for name in (str(place), f"again {place}")}
    assert len(contents) == 1


def test_damage_other_versions_and_other_files_are_refused(model: weft.Model, tmp_path: Path) -> None:
    path = tmp_path / "one.trace"
    model.trace("Oui.", layers=[0], beams=1).save(path)
    good = path.read_bytes()
    chance = np.random.default_rng(0)
    for place in [0, 8, 9, len(good) - 1, *chance.integers(0, len(good), 60), *chance.integers(0, 1500, 200)]:
        bad = bytearray(good)
        bad[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(bad)
        with pytest.raises(DataError):
            DecodingTrace.load(path)
    for content in (good[:-1], good[: len(good) // 2], b"", b"{}", good + b"more"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a decoding trace"):
            DecodingTrace.load(path)
    path.write_bytes(save({"a": np.zeros(2)}))
    with pytest.raises(DataError, match="no decoding trace"):
        DecodingTrace.load(path)
    with pytest.raises(DataError, match="cannot be read"):
        DecodingTrace.load(tmp_path / "nothing")
    for header, message in (({"version": 1, "trace": {}}, f"a trace of version 1; this Weft reads version {VERSION}"),
                            ({"version": [], "trace": {}}, "a trace of version"), ({"version": VERSION}, "is damaged"),
                            ([], "is damaged"), ({"version": VERSION, "trace": {}, "sha256": 3}, "is damaged"),
                            (_signed({"model": "x"}), f"no sound trace of version {VERSION}"),
                            (_signed({"model": 3}), f"no sound trace of version {VERSION}"),
                            (_signed([]), f"no sound trace of version {VERSION}")):
        path.write_bytes(save({}, {KEY: json.dumps(header)}))
        with pytest.raises(DataError, match=message):
            DecodingTrace.load(path)


def _signed(content: object) -> dict:
    return {"version": VERSION, "sha256": _digest(json.dumps(content), {}), "trace": content}
