"""Whole runs on a small real task: learning, exact resume, damaged states, full disks, the memory and the dial."""

from __future__ import annotations

import errno
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import weft
from tests.conftest import toy_pairs, write_pairs
from weft.errors import CheckpointError, DataError, DivergedError, UsageError
from weft.families import transformer
from weft.spec import training as t
from weft.train import plan
from weft.train import run as run_module

SMALL = {"width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "vocabulary": 330, "batch_tokens": 400, "threads": 1,
         "samples": 0, "validation_examples": 0, "warmup": 20, "learning_rate": 3e-3, "log_every": 5}


@pytest.fixture(scope="module", name="pairs")
def _pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_pairs(tmp_path_factory.mktemp("data") / "pairs.tsv", toy_pairs(2000)))


def finished(**options: object) -> t.Finished:
    events = list(weft.train(weft.TrainingOptions(**options)))
    assert isinstance(events[-1], t.Finished)
    return events[-1]


def weights(folder: str | Path) -> dict[str, np.ndarray]:
    return load_file(Path(folder) / "weights.safetensors")


@pytest.mark.parametrize("options", [
    {"family": "transformer", "size": "tiny", "dropout": 0.0, "steps": 500, "precision": "fp32"},
    {"family": "rnn", "heads": None, "size": "tiny", "bridge": "bahdanau", "width": 64, "feed_forward": 64, "steps": 400,
     "dropout": 0.0},
], ids=["transformer", "rnn"])
def test_learns_a_small_language(pairs: str, tmp_path: Path, options: dict) -> None:
    out = tmp_path / "out"
    settings = SMALL | {"width": 64, "layers": 2, "samples": 2, "validation_examples": 50} | options
    if options["family"] == "rnn":
        settings |= {"layers": 1, "learning_rate": 5e-3}
    end = finished(data=(pairs,), out=str(out), **settings)
    assert end.reason == "steps" and end.best_score is not None and end.best_score > 60
    model = weft.load(out)
    held_out = toy_pairs(40, seed=5)
    outputs = model.translate([source for source, _ in held_out])
    assert sum(output == target for output, (_, target) in zip(outputs, held_out, strict=True)) > 24
    assert "sacreBLEU" not in model.bundle.card and "validation BLEU" in model.bundle.card


@pytest.mark.parametrize("extra", [
    {"precision": "fp32", "accumulate": 3},
    {"precision": "bf16", "average": 3, "validate_every": 7, "threads": 2},
    {"precision": "fp32", "family": "rnn", "heads": None, "bridge": "luong", "cell": "lstm", "schedule": "inverse_sqrt"},
], ids=["accumulated", "bf16-averaged", "rnn"])
def test_killed_at_any_moment_and_started_again_is_bit_identical(pairs: str, tmp_path: Path, extra: dict) -> None:
    options = SMALL | {"data": (pairs,), "size": "tiny", "steps": 60, "dropout": 0.2, "checkpoint_seconds": 0.05,
                       "validate_every": 20} | extra
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(out=str(whole), **options)
    program = f"import weft\nfor e in weft.train(weft.TrainingOptions(out={str(killed)!r}, **{options!r})): pass"
    waits = iter((0.2, 0.9, 0.05))
    for wait in waits:  # each time after a checkpoint that was not there before, and a little later
        process = subprocess.Popen([sys.executable, "-c", program])
        seen = set(killed.glob("run/state-*"))
        deadline = time.monotonic() + 60
        while not set(killed.glob("run/state-*")) - seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished(out=str(killed), **options)
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


def events_until(kind: type, **options: object) -> list:
    seen = []
    for event in weft.train(weft.TrainingOptions(**options)):
        seen.append(event)
        if isinstance(event, kind):
            break
    return seen


def test_a_damaged_state_is_passed_over_and_named(pairs: str, tmp_path: Path) -> None:
    options = SMALL | {"data": (pairs,), "size": "tiny", "steps": 40, "checkpoint_seconds": 0.0, "out": str(tmp_path / "o")}
    stream = weft.train(weft.TrainingOptions(**options))
    saved = list(itertools.islice((event for event in stream if isinstance(event, t.Checkpointed)), 3))
    stream.close()
    states = sorted((tmp_path / "o" / "run").glob("state-*"))
    assert len(states) == 2 and str(states[-1]) == saved[-1].path
    states[-1].write_bytes(states[-1].read_bytes()[:-50])
    events = list(weft.train(weft.TrainingOptions(**options)))
    assert events[0].step == saved[-2].step
    assert any(isinstance(e, t.Warned) and f"{states[-1]} is damaged" in e.message for e in events)
    assert events[-1].reason == "steps"


def test_when_all_states_are_damaged(pairs: str, tmp_path: Path) -> None:
    options = SMALL | {"data": (pairs,), "size": "tiny", "steps": 40, "checkpoint_seconds": 0.0, "out": str(tmp_path / "o")}
    events_until(t.Checkpointed, **options)
    for state in (tmp_path / "o" / "run").glob("state-*"):
        state.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="No usable state is left: start again with --overwrite"):
        finished(**options)


def test_a_full_disk_warns_and_keeps_the_state_before(pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weft.train import checkpoint

    real, calls = checkpoint.write_atomically, []

    def full_after_two(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", full_after_two)
    options = SMALL | {"data": (pairs,), "size": "tiny", "steps": 8, "checkpoint_seconds": 0.0, "out": str(tmp_path / "o")}
    events = list(weft.train(weft.TrainingOptions(**options)))
    warnings = [event.message for event in events if isinstance(event, t.Warned)]
    assert "No space left on device; the state of step 2 stays usable" in warnings[0]
    assert events[-1].reason == "steps"


def test_changed_data_does_not_go_on(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "p.tsv", toy_pairs(300))
    options = SMALL | {"data": (str(path),), "size": "tiny", "steps": 40, "checkpoint_seconds": 0.0, "out": str(tmp_path / "o")}
    events_until(t.Checkpointed, **options)
    write_pairs(path, toy_pairs(301))
    with pytest.raises(CheckpointError, match="has changed since it began"):
        finished(**options)


def test_too_little_data(tmp_path: Path) -> None:
    for content, message in (("", "0 usable"), ("a\tb\n", "1 usable")):
        (tmp_path / "p.tsv").write_text(content)
        with pytest.raises(DataError, match=f"{message} examples; at least [12]"):
            finished(data=(str(tmp_path / "p.tsv"),), steps=1, out=str(tmp_path / "o"))
    path = write_pairs(tmp_path / "two.tsv", toy_pairs(2))
    assert finished(data=(str(path),), steps=2, out=str(tmp_path / "two"), **SMALL).reason == "steps"


def test_a_time_budget_is_kept_and_decays(pairs: str, tmp_path: Path) -> None:
    start = time.monotonic()
    events = list(weft.train(weft.TrainingOptions(data=(pairs,), out=str(tmp_path / "o"), minutes=0.15, **SMALL)))
    assert time.monotonic() - start < 0.15 * 60 + 6
    rates = [event.learning_rate for event in events if isinstance(event, t.Progress)]
    assert events[-1].reason == "minutes" and rates[-1] < 0.35 * max(rates)


def test_patience_ends_a_run(pairs: str, tmp_path: Path) -> None:
    end = finished(**(SMALL | {"data": (pairs,), "out": str(tmp_path / "o"), "size": "tiny", "steps": 500, "patience": 2,
                               "validate_every": 2, "learning_rate": 1e-12}))
    assert end.reason == "patience" and end.step < 30


def test_metrics_and_tensorboard(pairs: str, tmp_path: Path) -> None:
    finished(**(SMALL | {"data": (pairs,), "out": str(tmp_path / "o"), "size": "tiny", "steps": 10, "tensorboard": True}))
    records = [json.loads(line) for line in (tmp_path / "o" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {record["event"] for record in records} >= {"progress", "validated", "finished"}
    assert list((tmp_path / "o" / "run" / "tensorboard").glob("events.*"))


def test_memory_sets_the_small_batches(monkeypatch: pytest.MonkeyPatch, pairs: str, tmp_path: Path) -> None:
    config = transformer.config(37_000, **transformer.SIZES["base"])
    options = plan.resolve(t.TrainingOptions(size="base", precision="fp32"), 4_500_000, 500_000_000)
    assert plan.accumulation(config, options, 512 << 30) == 1
    few, fewer = (plan.accumulation(config, options, gigabytes << 30) for gigabytes in (24, 8))
    assert 1 < few < fewer
    monkeypatch.setattr(run_module.plan, "available_memory", lambda: 1 << 20)
    run = run_module.open_run(t.TrainingOptions(data=(pairs,), out=str(tmp_path / "o"), steps=1,
                                                **(SMALL | {"batch_tokens": 100_000, "width": 256, "feed_forward": 1024})))
    assert run.options.accumulate > 1


def test_the_dial() -> None:
    sizes = {pairs: plan.resolve(t.TrainingOptions(), pairs, pairs * 15) for pairs in (500, 29_000, 200_000, 5_000_000)}
    assert [options.size for options in sizes.values()] == ["tiny", "tiny", "small", "base"]
    assert sizes[500].vocabulary < sizes[29_000].vocabulary and sizes[500].batch_tokens < sizes[29_000].batch_tokens
    assert sizes[500].epochs > sizes[29_000].epochs and sizes[500].learning_rate < sizes[29_000].learning_rate
    base = sizes[5_000_000]
    assert (base.schedule, base.warmup, base.dropout, base.label_smoothing) == ("inverse_sqrt", 4000, 0.1, 0.1)
    assert base.learning_rate == pytest.approx(512**-0.5 * 4000**-0.5, rel=0.01)
    assert plan.choose_precision() in ("fp32", "bf16")


def test_killed_after_the_last_update_makes_no_further_one(pairs: str, tmp_path: Path) -> None:
    options = SMALL | {"data": (pairs,), "size": "tiny", "steps": 6, "validate_every": 2, "average": 2,
                       "schedule": "constant", "dropout": 0.1}
    events = list(weft.train(weft.TrainingOptions(out=str(tmp_path / "whole"), **options)))
    assert [event.step for event in events if isinstance(event, t.Validated)] == [2, 4, 6]
    for event in weft.train(weft.TrainingOptions(out=str(tmp_path / "killed"), **options)):
        if isinstance(event, t.Checkpointed) and event.step == 6:
            break
    assert finished(out=str(tmp_path / "killed"), **options).step == 6
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(np.array_equal(whole[name], killed[name]) for name in whole)


def test_overwrite_helps_where_it_is_recommended(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "p.tsv", toy_pairs(300))
    options = SMALL | {"data": (str(path),), "size": "tiny", "steps": 4, "out": str(tmp_path / "o")}
    finished(**options)
    assert finished(**options).reason == "already finished"
    assert finished(**options, overwrite=True).reason == "steps"
    write_pairs(path, toy_pairs(301))
    assert finished(**options, overwrite=True).reason == "steps"
    for damage in ("{", "{}"):
        (tmp_path / "o" / "run" / "options.json").write_text(damage)
        with pytest.raises(CheckpointError, match=r"options.json is damaged"):
            finished(**options)
    assert finished(**options, overwrite=True).reason == "steps"


def test_validation_files_that_hold_nothing(pairs: str, tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text("\n")
    with pytest.raises(DataError, match=r"v.tsv: 0 usable examples; at least 1"):
        finished(**(SMALL | {"data": (pairs,), "validation": (str(tmp_path / "v.tsv"),), "steps": 1,
                             "out": str(tmp_path / "o")}))


def test_a_loss_that_is_no_number_ends_the_run(pairs: str, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"training has diverged. Lower --learning-rate"):
        finished(**(SMALL | {"data": (pairs,), "steps": 60, "out": str(tmp_path / "o"), "learning_rate": 1e30, "warmup": 0}))


def test_an_output_that_cannot_be_written(pairs: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file; --out needs a folder"):
        finished(**(SMALL | {"data": (pairs,), "steps": 1, "out": str(tmp_path / "file")}))
