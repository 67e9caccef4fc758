"""Every task from its file to a bundle that answers, on small made-up languages."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import weft
from weft.bundle import open_bundle, save_bundle
from weft.cli import run
from weft.errors import DataError, UsageError
from weft.spec import config as c
from weft.spec import training as t
from weft.train.run import SHAPE

SMALL: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "threads": 1, "samples": 1, "warmup": 10,
                         "batch_tokens": 400, "learning_rate": 1e-2, "dropout": 0.0, "validation_examples": 50,
                         "precision": "fp32", "vocabulary": 330}


def finished(**options: Any) -> t.Finished:
    own = {name: value for name, value in SMALL.items() if "start" not in options or name not in SHAPE}
    *_, end = weft.train(t.TrainingOptions(**(own | options)))
    assert isinstance(end, t.Finished)
    return end


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, noise = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    words = ["sun", "rain", "snow", "wind", "fog"]
    names = ["Ana", "Bob", "Eva"]
    lines, sentences = [], []
    for _ in range(600):
        said = [words[i] for i in noise.integers(0, 5, 4)]
        label = "warm" if "sun" in said else "cold"
        lines.append(f"{label}\t{' '.join(said)}")
        said[noise.integers(4)] = names[noise.integers(3)]
        sentences.append("\n".join(f"{word}\t{'B-PER' if word in names else 'O'}" for word in said))
    found = {"classify": folder / "weather.tsv", "tag": folder / "names.bio", "text": folder / "counting.txt"}
    found["classify"].write_text("\n".join(lines) + "\n")
    found["tag"].write_text("\n\n".join(sentences) + "\n")
    found["text"].write_text("one two three four five six seven eight nine ten\n" * 300)
    return {name: str(path) for name, path in found.items()}


def test_classify(files: dict[str, str], tmp_path: Path) -> None:
    end = finished(data=(files["classify"],), out=str(tmp_path / "o"), task="classify", source_column=1, target_column=0,
                   steps=150)
    assert end.metric == "accuracy" and end.best_score is not None and end.best_score > 95
    model = weft.load(tmp_path / "o")
    warm, cold = model.classify(["fog rain sun wind", "fog rain snow wind"])
    assert (warm.label, cold.label) == ("warm", "cold") and warm.probability > 0.5
    assert model.classify("sun sun sun sun").label == "warm"
    with pytest.raises(UsageError, match=r"does not translate: it is encoder-only with a classification head; use model.class"):
        model.translate("sun")
    with pytest.raises(UsageError, match="does not generate text"):
        model.generate(["sun"])


def test_tag(files: dict[str, str], tmp_path: Path) -> None:
    end = finished(data=(files["tag"],), out=str(tmp_path / "o"), task="tag", steps=120)
    assert end.metric == "entity F1" and end.best_score is not None and end.best_score > 95
    text = "rain Bob fog  wind Ana"
    found = weft.load(tmp_path / "o").tag([text, "", "snow"])
    assert [(one.text, one.label, one.start) for one in found[0]] == [("Bob", "PER", 5), ("Ana", "PER", 19)]
    assert found[1] == []


def test_tagging_without_seqeval_goes_by_the_loss(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    monkeypatch.setattr("weft.tasks.tag.find_spec", lambda name: None)
    started, *_, end = weft.train(t.TrainingOptions(**(SMALL | {"data": (files["tag"],), "out": str(tmp_path / "o"),
                                                               "task": "tag", "steps": 2})))
    assert any("pip install 'weft[eval]'" in note for note in started.notes)
    assert end.best_score is None and end.best_loss is not None


@pytest.mark.parametrize("family", ["llama", "gpt2", "palm", "jurassic"])
def test_complete(files: dict[str, str], tmp_path: Path, family: str) -> None:
    finished(data=(files["text"],), out=str(tmp_path / "o"), task="complete", family=family, steps=200, context=24)
    model = weft.load(tmp_path / "o")
    result = model.complete("two three four", max_new_tokens=4)
    assert result.prompt == "two three four" and result.text.startswith(" five six")
    events = list(model.stream("two three four", max_new_tokens=4))
    assert "".join(event.text for event in events if hasattr(event, "token")) == result.text
    alone = [model.complete(prompt, max_new_tokens=5).tokens for prompt in ("one two", "nine ten\none two three", "six")]
    assert [one.tokens for one in model.complete(["one two", "nine ten\none two three", "six"], max_new_tokens=5)] == alone
    scores = model.task.evaluate(model.runner, model.tokenizer, model.config, [("one two three four five six\n" * 9, "")])
    assert scores[0].name == "bits per character" and scores[0].value < 1.0


def test_fill_then_classify_from_its_weights(files: dict[str, str], tmp_path: Path) -> None:
    finished(data=(files["text"],), out=str(tmp_path / "a"), task="fill", steps=250, context=24, batch_tokens=800)
    model = weft.load(tmp_path / "a")
    (candidates,) = model.fill("two three [MASK] five six", top=3)
    assert candidates[0].text == "four" and candidates[0].probability > candidates[1].probability
    options = {"data": (files["classify"],), "task": "classify", "source_column": 1, "target_column": 0, "steps": 1,
               "learning_rate": 1e-9, "start": str(tmp_path / "a"), "out": str(tmp_path / "b")}
    finished(**options)
    before, after = (load_file(tmp_path / part / "weights.safetensors") for part in "ab")
    np.testing.assert_allclose(before["encoder.blocks.0.feed_forward.up.weight"],
                               after["encoder.blocks.0.feed_forward.up.weight"], atol=1e-6)
    assert after["head.weight"].shape == (2, 32)
    assert isinstance(weft.load(tmp_path / "b").config.head, c.ClassificationHead)
    with pytest.raises(UsageError, match="layers and width do nothing with --start: the model and its tokenizer are those of"):
        next(weft.train(t.TrainingOptions(**(options | {"layers": 2, "width": 8, "out": str(tmp_path / "c")}))))
    with pytest.raises(UsageError, match="b has a classification head and no output layer of words, so fill cannot begin"):
        finished(**(options | {"task": "fill", "out": str(tmp_path / "c"), "data": (files["text"],),
                               "start": str(tmp_path / "b")}))
    with pytest.raises(UsageError, match="is encoder-only, and complete is for decoder-only models"):
        finished(**(options | {"task": "complete", "out": str(tmp_path / "c"), "data": (files["text"],)}))


def test_a_capped_head_is_not_trained_on(files: dict[str, str], tmp_path: Path) -> None:
    finished(data=(files["text"],), out=str(tmp_path / "a"), task="complete", steps=1)
    bundle = open_bundle(tmp_path / "a")
    config = replace(bundle.config, head=c.LanguageModelHead(soft_cap=30.0))
    save_bundle(tmp_path / "capped", config, bundle.tensors(), bundle.tokenizer_json, {}, "# capped\n", task="complete")
    with pytest.raises(UsageError, match=r"capped caps its logits at 30 \(Gemma 2\)"):
        finished(data=(files["text"],), out=str(tmp_path / "b"), task="complete", start=str(tmp_path / "capped"), steps=1)


@pytest.mark.parametrize("objective", ["spans", "infill"])
def test_denoise(files: dict[str, str], tmp_path: Path, objective: str, capsys: pytest.CaptureFixture) -> None:
    """On the command line it is scored by its objective, on what training held out."""
    end = finished(data=(files["text"],), out=str(tmp_path / "o"), task="denoise", objective=objective, steps=60, context=128,
                   vocabulary=400)
    assert end.best_loss is not None and end.best_loss < 4.5
    asked = ["--last-tenth", "--objective", objective, "--context", "128"]
    assert run(["evaluate", str(tmp_path / "o"), "--data", files["text"], *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"perplexity \d+\.\d+   tokens:\d+\|those taken out\|{objective}\|share:0\.\d+\|context:128", lines[0])
    assert lines[1].startswith("unigram perplexity ") and lines[2].startswith("spans restored ")


@pytest.mark.parametrize("task", ["complete", "fill", "denoise", "tag", "classify"])
def test_a_stopped_run_goes_on_exactly(files: dict[str, str], tmp_path: Path, task: str) -> None:
    options = SMALL | {"data": (files.get(task, files["text"]),), "task": task, "steps": 12, "dropout": 0.1, "context": 70,
                       "vocabulary": 400, "validate_every": 5, "source_column": int(task == "classify"), "target_column": 0}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(weft.train(t.TrainingOptions(**options, out=str(whole))))
    for most in (4, 3, 99):
        counter = itertools.count(1)
        list(weft.train(t.TrainingOptions(**options, out=str(parts)), stop=lambda c=counter, m=most: next(c) > m))
    first, second = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_cannot_be_trained_is_said(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is trained for the task embed"):
        finished(data=(files["classify"],), out=str(tmp_path / "o"), task="embed", steps=1)
    known = "Known: classify, complete, denoise, fill, tag, translate."
    with pytest.raises(UsageError, match=rf"unknown task 'clasify'. Did you mean 'classify'\? {known}"):
        finished(data=(files["classify"],), out=str(tmp_path / "o"), task="clasify", steps=1)
    with pytest.raises(UsageError, match="--family rnn does not complete; use llama, gpt2, palm, jurassic"):
        finished(data=(files["text"],), out=str(tmp_path / "o"), task="complete", family="rnn", heads=None, steps=1)
    with pytest.raises(DataError, match="every training example has the label 'warm'; a classifier needs two or more"):
        (tmp_path / "one.tsv").write_text("warm\tsun\nwarm\tfog\n" * 20)
        finished(data=(str(tmp_path / "one.tsv"),), out=str(tmp_path / "o"), task="classify", source_column=1, target_column=0,
                 steps=1)
    assert not (tmp_path / "o" / "run").exists()
    with pytest.raises(DataError, match=r"weather.tsv, line 1: the tag 'fog"):
        (tmp_path / "weather.tsv").write_text("word\tfog and rain\n")
        finished(data=(str(tmp_path / "weather.tsv"),), out=str(tmp_path / "o"), task="tag", steps=1)
    with pytest.raises(DataError, match=r"x.jsonl, line 2 has no \"text\""):
        (tmp_path / "x.jsonl").write_text('{"text": "a b c"}\n{"body": 1}\n')
        finished(data=(str(tmp_path / "x.jsonl"),), out=str(tmp_path / "o"), task="fill", steps=1)
