"""Answers of classifiers against the text-classification pipeline: one label, several, regression."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import weft
from tests.bundles import checkpoint, edit
from tests.conformance import checkpoints as hf
from weft.bundle import open_bundle
from weft.convert import export_bundle, import_checkpoint
from weft.errors import ConfigError
from weft.families import bart


@pytest.mark.parametrize("family", ["bert", "llama", "bart", "t5"])
@pytest.mark.parametrize(("problem", "labels"), [
    (None, 1), (None, 3), ("single_label_classification", 3), ("multi_label_classification", 1),
    ("multi_label_classification", 3), ("regression", 1), ("regression", 3)])
def test_answers_are_the_pipelines(tmp_path: Path, family: str, labels: int, problem: str | None) -> None:
    names = {str(index): f"L{index}" for index in range(labels)}
    folder = checkpoint(tmp_path, family, "classification", around=family in ("bart", "t5"), id2label=names)
    edit(folder / "config.json", problem_type=problem)
    ours = weft.load(import_checkpoint(folder, tmp_path / "weft").path)
    out = export_bundle(open_bundle(tmp_path / "weft"), tmp_path / "out")
    texts = ["w1 w2 w3", "w7"]
    for place in (folder, out):
        pipeline = transformers.pipeline("text-classification", model=str(place), tokenizer=str(place), device="cpu")
        for found, wanted in zip(ours.classify(texts), pipeline(texts, top_k=None), strict=True):
            assert found.label == wanted[0]["label"] and found.probability == pytest.approx(wanted[0]["score"], abs=1e-5)
            assert found.probabilities == pytest.approx({one["label"]: one["score"] for one in wanted}, abs=1e-5)
    said = json.loads((out / "config.json").read_text()).get("problem_type")
    assert said == (None if problem == "single_label_classification" else problem)


@pytest.mark.parametrize("family", ["bert", "bart"])
def test_a_text_that_is_too_long_keeps_its_end(tmp_path: Path, family: str) -> None:
    """As by transformers' tokenizers: BART's classes are told from the state of </s>."""
    folder = checkpoint(tmp_path, family, "classification", around=True, max_position_embeddings=12)
    ours, text = weft.load(import_checkpoint(folder, tmp_path / "weft").path), " ".join(f"w{i}" for i in range(30))
    pipeline = transformers.pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")
    (wanted,) = pipeline([text], top_k=None, truncation=True, max_length=12)
    assert ours.classify(text).probabilities == pytest.approx({one["label"]: one["score"] for one in wanted}, abs=1e-5)
    assert ours.notices == ["the text 'w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 …' has 32 tokens; only the window of 12 was read"]
    assert ours.task.predict(ours.runner, ours.tokenizer, ours.config, [text]) == [ours.classify(text).label]


def test_other_problems_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "bert", "classification")
    edit(folder / "config.json", problem_type="ordinal_regression")
    with pytest.raises(ConfigError, match="problem_type = 'ordinal_regression', which Weft does not do; it does 'single_la"):
        import_checkpoint(folder, tmp_path / "weft")


@torch.no_grad()
def test_mbart_begins_with_the_texts_last_token(tmp_path: Path) -> None:
    """Whatever decoder_start_token_id says, as transformers' class does."""
    example = bart.TINY | {"decoder_start_token_id": 9}
    theirs = hf.make_checkpoint(tmp_path / "hf", "mbart", "MBartForSequenceClassification", example)
    ours = weft.load(import_checkpoint(tmp_path / "hf", tmp_path / "weft").path, precision="fp32")
    text = [5, 11, 7, 2]
    np.testing.assert_allclose(ours.runner.score([text])[0], theirs(torch.tensor([text])).logits[0], atol=1e-4)
    assert open_bundle(export_again(tmp_path)).config == ours.config


def export_again(folder: Path) -> Path:
    """The bundle `weft` in that folder, exported and imported again."""
    export_bundle(open_bundle(folder / "weft"), folder / "out")
    return import_checkpoint(folder / "out", folder / "again").path
