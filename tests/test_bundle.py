"""Bundles: what is saved comes back, and the message for each kind of damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import toy_pairs
from weft import __version__
from weft.bundle import find_model, open_bundle, save_bundle, shipped_models
from weft.errors import BundleError, ConfigError, FingerprintError, WeftError
from weft.text import Tokenizer


@pytest.fixture(name="bundle")
def _bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def refused(folder: Path, kind: type[WeftError] = BundleError) -> str:
    with pytest.raises(kind) as error:
        open_bundle(folder).weights()
    return str(error.value)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def fit_manifest(path: Path) -> None:
    import hashlib

    manifest = json.loads((path.parent / "manifest.json").read_text())
    content = path.read_bytes()
    manifest["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def test_round_trip(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    weights = opened.weights()
    for store, tolerance in (("float32", 0.0), ("float16", 1e-3), ("bfloat16", 4e-3)):
        again = open_bundle(save_bundle(tmp_path / store, opened.config, weights, opened.tokenizer_json,
                                        opened.generation, opened.card, store=store))
        assert (again.config, again.generation, again.card, again.task) == (
            opened.config, opened.generation, opened.card, "translate")
        for name, array in again.weights().items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, weights[name], atol=tolerance)
        manifest = json.loads((again.path / "manifest.json").read_text())
        assert (manifest["format"], manifest["weft"]) == (1, __version__)
    assert not list(bundle.glob(".*")), "no temporary file is left"


@pytest.mark.parametrize("store", ["float32", "float16", "bfloat16"])
def test_stored_weights_are_those_of_safetensors_and_torch(bundle: Path, tmp_path: Path, store: str) -> None:
    """The oracle reads our file, and we read its: same bits, halves rounded to even."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    opened = open_bundle(bundle)
    weights = opened.weights()
    odd = [0.0, -0.0, 1e-40, -1e-30, 1.00390625, 1.01171875, 1 / 3, 60000.0, float("inf"), float("nan")]
    next(iter(weights.values())).flat[: len(odd)] = odd
    saved = save_bundle(tmp_path / "ours", opened.config, weights, opened.tokenizer_json, {}, "", store=store)
    expected = {name: torch.from_numpy(array).to(getattr(torch, store)) for name, array in weights.items()}
    theirs, ours = load_file(saved / "weights.safetensors"), open_bundle(saved).weights()
    for name, tensor in expected.items():
        assert theirs[name].dtype == tensor.dtype
        np.testing.assert_array_equal(theirs[name].float().numpy(), tensor.float().numpy())
        np.testing.assert_array_equal(ours[name], tensor.float().numpy())
    save_file(expected, saved / "weights.safetensors", metadata={"format": "pt"})
    fit_manifest(saved / "weights.safetensors")
    for name, array in open_bundle(saved).weights().items():
        np.testing.assert_array_equal(array, expected[name].float().numpy())


def test_what_cannot_be_stored(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    weights = opened.weights()
    name = next(iter(weights))
    weights[name].flat[0] = -70000.0

    def save(store: str) -> Path:
        return save_bundle(tmp_path / "m", opened.config, weights, opened.tokenizer_json, {}, "", store=store)

    with pytest.raises(BundleError, match=f"{name} holds 70000, above the largest float16 .65,504.; store the weights as"):
        save("float16")
    with pytest.raises(BundleError, match="cannot be stored as 'int8'; use float32, float16, bfloat16"):
        save("int8")
    assert not (tmp_path / "m").exists(), "nothing is written before everything is known to fit"


def test_whole_numbers_are_no_weights(bundle: Path) -> None:
    from safetensors.numpy import save_file

    path = bundle / "weights.safetensors"
    save_file({name: array.astype(np.int32) for name, array in open_bundle(bundle).weights().items()}, path)
    fit_manifest(path)
    message = refused(bundle)
    assert "weights are stored as float32, float16, bfloat16, but" in message and "is I32" in message


def test_a_failed_save_leaves_what_was_there(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_bundle(bundle)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("weft.bundle.os.fsync", full)
    with pytest.raises(BundleError, match=r"cannot write the bundle .*: No space left on device"):
        save_bundle(bundle, opened.config, opened.weights(), opened.tokenizer_json, {}, "")
    assert open_bundle(bundle).card == opened.card and not list(bundle.glob(".*"))


def test_what_is_no_bundle(tmp_path: Path, bundle: Path) -> None:
    assert f"no folder {tmp_path / 'none'}" in refused(tmp_path / "none")
    assert "is a file; a bundle is a folder" in refused(bundle / "card.md")
    (tmp_path / "empty").mkdir()
    assert "is no bundle: it lacks config.json, weights.safetensors" in refused(tmp_path / "empty")
    (bundle / "tokenizer.json").unlink()
    assert "is no bundle: it lacks tokenizer.json" in refused(bundle)
    (bundle / "tokenizer.json").mkdir()
    assert "is no bundle: it lacks tokenizer.json" in refused(bundle)
    with pytest.raises(BundleError, match="no model 'fr-xx': no folder of that name here"):
        find_model("fr-xx")


def test_truncated_and_flipped_weights(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert f"weights.safetensors has {len(content) - 100:,} bytes, not {len(content):,} (truncated)" in refused(bundle)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "weights.safetensors has SHA-256" in refused(bundle)
    path.write_bytes(content[:-100])
    fit_manifest(path)
    assert "cannot be read as weights" in refused(bundle)


def test_swapped_weights_name_both_shapes(bundle: Path) -> None:
    opened = open_bundle(bundle)
    edit_json(bundle / "config.json", width=32)
    message = refused(bundle)
    assert "source_embedding.weight has shape" in message and ", 16), the config says" in message
    with pytest.raises(BundleError, match=r"head.bias .* is not in the model"):
        save_bundle(bundle / "new", opened.config, {"head.bias": np.zeros(3)}, "", {}, "")


def test_unknown_config_key(bundle: Path) -> None:
    edit_json(bundle / "config.json", widht=32)
    message = refused(bundle, ConfigError)
    assert "config.json" in message and "'widht'. Did you mean 'width'?" in message


def test_another_tokenizer_does_not_open(bundle: Path) -> None:
    right = open_bundle(bundle).config.tokenizer
    other = Tokenizer.train("metaspace_bpe", [text for pair in toy_pairs(50, seed=9) for text in pair], 350)
    (bundle / "tokenizer.json").write_text(other.to_json())
    message = refused(bundle, FingerprintError)
    assert str(right) in message and other.fingerprint in message


def test_defaults_and_card_may_be_edited(bundle: Path) -> None:
    edit_json(bundle / "generation.json", beams=7)
    (bundle / "card.md").write_text("# mine")
    assert open_bundle(bundle).generation["beams"] == 7 and open_bundle(bundle).card == "# mine"


def test_other_damage(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")
    assert "manifest.json is not JSON" in refused(bundle)
    (bundle / "manifest.json").write_text('{"format": 99}')
    assert "has format 99; this Weft reads format 1" in refused(bundle)
    (bundle / "manifest.json").write_text('{"format": 1}')
    assert "lacks task and files" in refused(bundle)
    edit_json(bundle / "manifest.json", task=3, files=[])
    assert "lacks task and files" in refused(bundle)


@pytest.mark.parametrize("entry", [{}, [], {"bytes": "5"}])
def test_a_manifest_without_a_file(bundle: Path, entry: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    edit_json(bundle / "manifest.json", files=manifest["files"] | {"config.json": entry})
    assert "config.json is not in the manifest" in refused(bundle)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation.json", "card.md", "manifest.json"])
def test_bytes_that_are_not_utf8(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"{\xff}")
    assert f"{name} is not UTF-8" in refused(bundle)


@pytest.mark.parametrize("text,message", [
    ("[1]", "expected a table of keys"),
    ('{"beems": 3}', "'beems'. Did you mean 'beams'?"),
    ('{"beams": "3"}', "beams is '3', a str; expected int"),
    ('{"beams": 0}', "beams is 0; it must be 1 to 64"),
])
def test_bad_defaults_name_their_file(bundle: Path, text: str, message: str) -> None:
    (bundle / "generation.json").write_text(text)
    found = refused(bundle, ConfigError)
    assert "generation.json: " in found and message in found


def test_a_folder_that_is_no_bundle_does_not_hide_a_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fr-en").mkdir()
    assert find_model("fr-en") == shipped_models()["fr-en"]
    (tmp_path / "fr-en" / "manifest.json").write_text("{}")
    assert find_model("fr-en") == Path("fr-en")
