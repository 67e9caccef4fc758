"""Folders of sentence-transformers: one vector a text, by the states that transformers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import weft
from tests.bundles import edit
from tests.conformance import checkpoints as hf
from weft.bundle import open_bundle
from weft.convert import export_bundle, import_checkpoint
from weft.errors import ConfigError

EXAMPLE = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 40,
           "max_position_embeddings": 40}
TEXTS = ["w1 w2 w3 w4", "w7"]


def surround(folder: Path, switches: dict[str, Any], *more: str) -> None:
    """modules.json as sentence-transformers writes it, and the pooling's own file."""
    paths = {"Transformer": "", "Pooling": "1_Pooling", **{kind: f"{index}_{kind}" for index, kind in enumerate(more, 2)}}
    modules = [{"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for index, (kind, path) in enumerate(paths.items())]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24, **switches}))


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    hf.make_checkpoint(tmp_path / "hf", "bert", "BertModel", EXAMPLE)
    return tmp_path


def states(folder: Path, text: str) -> np.ndarray:
    with torch.no_grad():
        ids = torch.tensor([[int(word[1:]) + 5 for word in text.split()]])
        return hf.reopened(folder, "BertModel")(ids).last_hidden_state[0].numpy()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("switches", "pooling"), [
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}, "first"),
    ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}, "mean"),
    ({"pooling_mode_lasttoken": True}, "last"), ({"pooling_mode": "cls", "include_prompt": True}, "first")])
def test_vectors(folder: Path, switches: dict[str, Any], pooling: str, normalise: bool) -> None:
    surround(folder / "hf", switches, *(["Normalize"] if normalise else []))
    import_checkpoint(folder / "hf", folder / "weft")
    out = export_bundle(open_bundle(folder / "weft"), folder / "out")
    import_checkpoint(out, folder / "again")
    wanted = []
    for text in TEXTS:
        rows = states(out, text)
        vector = {"first": rows[0], "mean": rows.mean(0), "last": rows[-1]}[pooling]
        wanted.append(vector / np.linalg.norm(vector) if normalise else vector)
    for bundle in ("weft", "again"):
        np.testing.assert_allclose(weft.load(folder / bundle).embed(TEXTS), np.stack(wanted), atol=1e-5)
    assert open_bundle(folder / "again").config == open_bundle(folder / "weft").config
    assert (out / "modules.json").exists() == (pooling != "mean" or normalise)  # the default needs no words


@pytest.mark.parametrize(("switches", "more", "message"), [
    ({"pooling_mode_max_tokens": True}, (), "asks for the pooling max, which Weft does not do; it does cls, mean, last"),
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, (), "the pooling cls and mean, which"),
    ({}, (), "the pooling of no kind"), ({"pooling_mode": "max"}, (), "the pooling max"),
    ({"pooling_mode": "mean"}, ("Dense", "Normalize"), "has the modules Transformer, Pooling, Dense, Normalize; Weft does"),
])
def test_what_is_refused(folder: Path, switches: dict[str, Any], more: tuple[str, ...], message: str) -> None:
    surround(folder / "hf", switches, *more)
    with pytest.raises(ConfigError, match=message):
        import_checkpoint(folder / "hf", folder / "weft")


def test_damaged_lists_of_modules(folder: Path) -> None:
    for text in ("{}", "[1]"):
        (folder / "hf" / "modules.json").write_text(text)
        with pytest.raises(ConfigError, match=r"modules.json holds no list of modules"):
            import_checkpoint(folder / "hf", folder / "weft")
    surround(folder / "hf", {"pooling_mode": "mean"})
    modules = json.loads((folder / "hf" / "modules.json").read_text())
    modules[1]["path"] = "../../elsewhere"
    (folder / "hf" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"has a Pooling in '../../elsewhere', which is no folder in it"):
        import_checkpoint(folder / "hf", folder / "weft")


def test_other_models_have_no_pooling(tmp_path: Path) -> None:
    """A masked language model that someone put such files beside stays one."""
    hf.make_checkpoint(tmp_path / "hf", "bert", "BertForMaskedLM", EXAMPLE)
    surround(tmp_path / "hf", {"pooling_mode": "cls"})
    edit(tmp_path / "hf" / "config.json", finetuning_task="x")
    assert import_checkpoint(tmp_path / "hf", tmp_path / "weft").config.head.type == "language_model"
