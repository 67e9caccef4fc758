"""weft doctor: sound models pass, and each way to break one is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import weft
from tests.bundles import bundle
from weft.backends.torch import TorchRunner
from weft.bundle import open_bundle, save_bundle
from weft.inspect import checks
from weft.inspect.checks import Patient, findings
from weft.model import Model


def failed(model: Model) -> set[str]:
    return {finding.name for finding in findings(model) if finding.passed is False}


@pytest.mark.parametrize("name", ["fr-en", "shakespeare", "sentiment"])
def test_shipped_models_hold(weft, name: str) -> None:
    status, out, _ = weft("doctor", name)
    assert status == 0 and "FAILED" not in out and out.endswith("all hold\n")
    kind = {"fr-en": "alone and padded on the right", "shakespeare": "padded on either side", "sentiment": "8 texts alone"}
    assert kind[name] in out and "largest difference" in out and "told    backends: native fp32, native int8" in out
    assert "ok      backends: native fp32, torch fp32" in out


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_random_models_hold(tmp_path: Path, name: str) -> None:
    assert failed(weft.load(bundle(tmp_path / name, name))) == set()


class LeaksBetweenRows(TorchRunner):
    def step(self, tokens: np.ndarray, best: int | None = None, *others: object, **named: object) -> object:
        found = super().step(tokens, best, *others, **named)
        if best is None:
            return found + 0.01 * found.mean(0, keepdims=True)
        return replace(found, log_probs=found.log_probs + 0.01 * found.log_probs.mean(0, keepdims=True))


class ForgetsToGather(TorchRunner):
    def gather(self, rows: np.ndarray) -> None:
        if len(set(rows.tolist())) < len(self._past.history) * self._copies:
            super().gather(rows)


class SeesPadding(TorchRunner):
    def logits(self, source: object, target: list, trace: object = None) -> np.ndarray:
        return super().logits(source, target, trace) + 0.001 * max(map(len, target))

    def score(self, rows: list, *others: object) -> np.ndarray:
        return super().score(rows, *others) + 0.001 * max(map(len, rows))


class Chance(TorchRunner):
    def step(self, *arguments: object, **named: object) -> object:
        found = super().step(*arguments, **named)
        noise = np.random.default_rng().normal(size=1).astype(np.float32)
        return found * (1 + 0.1 * noise) if isinstance(found, np.ndarray) else replace(found, log_probs=found.log_probs + noise)


@pytest.mark.parametrize("broken,name,expected", [
    (LeaksBetweenRows, "fr-en", {"batch of one, batch of many", "cached, uncached"}),
    (ForgetsToGather, "fr-en", {"cached, uncached"}),
    (SeesPadding, "fr-en", {"padding"}),
    (SeesPadding, "sentiment", {"batch of one, batch of many"}),
    (LeaksBetweenRows, "shakespeare", {"batch of one, batch of many", "padding"}),
    (Chance, "fr-en", {"one beam, greedy", "n-best", "seeds"}),
])
def test_a_broken_runner_is_found(broken: type, name: str, expected: set[str]) -> None:
    model = weft.load(name, backend="torch")
    model._runner = broken(model.runner.model)
    assert expected <= failed(model)


def test_a_bundle_of_bad_weights_is_found(tmp_path: Path, weft) -> None:
    source = open_bundle(bundle(tmp_path / "good", "gpt2"))
    weights = source.weights()
    next(iter(weights.values()))[5] = np.nan
    path = save_bundle(tmp_path / "bad", source.config, weights, source.tokenizer_json, {}, source.card, task=source.task)
    status, out, _ = weft("doctor", path)
    assert status == 1 and "FAILED  padding" in out and out.strip().endswith("failed")


def test_a_beam_below_greedy_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reason (greedy's beginning was pruned) it is told; a search that loses it without one has failed."""
    patient = Patient(weft.load("fr-en"))
    greedy = patient.decode(patient.options())
    better = [tuple(replace(one, score=one.score + 9) for one in hypotheses) for hypotheses in greedy]
    decode = Patient.decode
    monkeypatch.setattr(Patient, "decode", lambda self, options, *args, **named: better if options.beams == 1 else
                        decode(self, options, *args, **named))
    finding = checks.beams_and_greedy(patient)
    kept = [place for place, hypotheses in enumerate(greedy)
            if decode(patient, patient.options(beams=4))[place][0].tokens == hypotheses[0].tokens]
    assert kept and not finding.passed
    assert all(f"input {place + 1}" in finding.told.split("without a reason: ")[1] for place in kept)
    monkeypatch.setattr(checks, "_was_pruned", lambda *_: True)
    finding = checks.beams_and_greedy(patient)
    assert finding.passed and "better beginnings had pushed greedy's out" in finding.told
