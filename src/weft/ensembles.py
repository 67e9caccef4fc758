"""Several bundles opened as one model: an ensemble, and a language model beside it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from weft.decode.ensemble import EnsembleRunner, FusionRunner, Mean
from weft.decode.inputs import own_kinds
from weft.errors import UsageError
from weft.model import Model, load, require_same_ids
from weft.spec import config as c
from weft.spec.ranges import Range, check_choice, check_number, shown

Bundle = Model | str | Path


def ensemble(models: Sequence[Bundle] | Bundle, *, weights: Sequence[float] | None = None, mean: Mean = "probabilities",
             fusion: tuple[Bundle, float] | None = None, backend: str = "auto", precision: str = "auto") -> Model:
    """A Model that says what several say together; it does all that the first of them does.

    models: opened models, bundle folders or shipped names, all of one kind and tokenizer. weights: one for each, above 0;
    default: equal. mean: of their "probabilities" or their "log_probabilities". fusion: a decoder-only language model of the
    same tokenizer and its weight: log p + weight * log p_lm (Gulcehre et al. 2015). backend, precision: of those that are not
    opened yet, as in weft.load. Raises UsageError.
    """
    given = [models] if isinstance(models, (Model, str, Path)) else _several(models)
    if not given:
        raise UsageError(f"an ensemble of no models ({shown(models)}); give one or more")
    shares = _shares(weights, len(given))
    check_choice("mean", mean, get_args(Mean))
    run_by = {"backend": backend, "precision": precision}
    opened = [_open(model, run_by) for model in given]
    first = opened[0]
    for other in opened:
        require_same_ids(first, other, "ensemble's member")
        if other.config.kind != first.config.kind:
            raise UsageError(f"an ensemble of {first.config.kind} and {other.config.kind}; members must be of one kind")
    for model in opened:
        model._needs_decoder()
    runner: Any = EnsembleRunner([copy.copy(model.runner) for model in opened], shares, mean)
    windows = [model.config.window for model in opened]
    if fusion is not None:
        language_model, weight = _language_model(first, fusion, run_by)
        runner = FusionRunner(runner, copy.copy(language_model.runner), weight)
        windows.append(replace(language_model.config.window, source=windows[0].source))
    window = c.Window(min(one.source for one in windows), min(one.target for one in windows))
    return first.speaking_through(runner, window)


def _several(models: Any) -> list[Any]:
    try:
        return list(models)
    except TypeError:
        return []


def _open(model: Bundle, run_by: dict[str, Any]) -> Model:
    return model if isinstance(model, Model) else load(model, **run_by)


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """Weights that sum to 1."""
    if weights is None:
        return [1.0 / count] * count
    given = own_kinds(weights)
    if not isinstance(given, tuple):
        raise UsageError(f"weights is {shown(weights)}; it must be a list of numbers, one for each model")
    if len(given) != count:
        raise UsageError(f"{len(given)} weights for {count} models; give one for each")
    for weight in given:
        check_number("each of the weights", weight, float, Range(0, 1000000, above=True))
    return [weight / sum(given) for weight in given]


def _language_model(model: Model, fusion: tuple[Bundle, float], run_by: dict[str, Any]) -> tuple[Model, float]:
    """The model, and its weight."""
    if not isinstance(fusion, tuple | list) or len(fusion) != 2:
        raise UsageError(f"fusion is {shown(fusion)}; it must be a pair: a language model and its weight, such as 0.3")
    bundle, weight = fusion
    check_number("the weight of the language model", weight, float, Range(-100, 100))
    found = _open(bundle, run_by)
    require_same_ids(model, found, "language model")
    if found.config.kind != "decoder-only":
        raise UsageError(f"the language model is {found.config.kind}; fusion takes a decoder-only one")
    return found, float(weight)
