"""Bundles: what is saved comes back, and the message for each kind of damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import toy_pairs
from weft.bundle import find_model, open_bundle, save_bundle
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
    for store, tolerance in (("float32", 0.0), ("float16", 1e-3)):
        again = open_bundle(save_bundle(tmp_path / store, opened.config, weights, opened.tokenizer_json,
                                        opened.generation, opened.card, store=store))
        assert (again.config, again.generation, again.card, again.task) == (
            opened.config, opened.generation, opened.card, "translate")
        for name, array in again.weights().items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, weights[name], atol=tolerance)
    assert not list(bundle.glob(".*")), "no temporary file is left"


def test_what_is_no_bundle(tmp_path: Path, bundle: Path) -> None:
    assert f"no folder {tmp_path / 'none'}" in refused(tmp_path / "none")
    assert "is a file; a bundle is a folder" in refused(bundle / "card.md")
    (tmp_path / "empty").mkdir()
    assert "is no bundle: it lacks config.json, weights.safetensors" in refused(tmp_path / "empty")
    (bundle / "tokenizer.json").unlink()
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
