"""The card of a bundle: what the model is, where it comes from, how good it is, what not to use it for."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from weft.spec.config import ModelConfig
from weft.spec.parameters import count
from weft.spec.training import TrainingOptions

_SMALL = "A small model: it knows the kind of text it was trained on and little else. "
LIMITS = {
    "translate": _SMALL + "It can drop, add or twist what a sentence says, most of all in long, technical or unusual text. "
                 "Have a person check what matters.",
    "classify": _SMALL + "Its probabilities are rough, and irony, negation and other subjects mislead it. Do not decide about "
                "people by it.",
    "tag": _SMALL + "It misses names and takes other words for names, most of all in other kinds of text. Do not rely on it to "
           "find or hide all names.",
}
GENERAL = _SMALL + "What it writes or guesses sounds like its training text and is not true."
"""Limits of use, by task."""
# Options that say nothing about the model.
_LEFT_OUT = ("out", "overwrite", "log_every", "checkpoint_seconds", "tensorboard", "samples", "data_root",
             "data_licence")


def bundle_card(config: ModelConfig, options: TrainingOptions, metrics: Mapping[str, object], *, name: str,
                seconds: float, step: int, bytes_each: int = 4, limits: str = "") -> str:
    """Markdown. metrics: label (with its signature) -> value. bytes_each: of a stored weight."""
    stack = (config.decoder or config.encoder).type  # type: ignore[union-attr]
    named = replace(options, data=_names(options.data), validation=_names(options.validation))
    recipe = "\n".join(f"{key} = {_toml(value)}" for key, value in asdict(named).items()
                       if key not in _LEFT_OUT and value is not None)
    rows = "\n".join(f"| {label.replace('|', '&#124;')} | {value} |" for label, value in metrics.items())
    return f"""# {name}

Task: {options.task}. Model: {config.kind}, {stack}, of {count(config):,} parameters, vocabulary {config.vocabulary:,};
{count(config) * bytes_each / 1e6:,.1f} MB of weights.
Trained with Weft, {datetime.date.today().isoformat()}, in {seconds / 60:.0f} minutes; weights of update {step:,}.

## Data

{", ".join(named.data) or "not recorded"}

{options.data_licence or "Licence and attribution: not recorded (weft train --data-licence)."}

## Quality

| metric | value |
|---|---|
{rows}

## Limits of use

{limits or LIMITS.get(options.task, GENERAL)}

## Recipe

```toml
{recipe}
```
"""


def imported_card(config: ModelConfig, *, family: str, source: str, task: str, size: int,
                  dropped: Sequence[tuple[str, str]], generation: Mapping[str, object]) -> str:
    """Markdown for a checkpoint that came from elsewhere. size: bytes of weights; dropped: (tensor or key, reason);
    generation: its defaults of decoding."""
    defaults = "".join(f"\n- `{name} = {json.dumps(value)}`" for name, value in generation.items())
    rows = "".join(f"\n- `{name}`: {reason}" for name, reason in dropped) or "\nnothing"
    return f"""# {source}

Task: {task}. Model: {config.kind}, family {family}, of {count(config):,} parameters, vocabulary {config.vocabulary:,};
{size / 1e6:,.1f} MB of weights. Imported with Weft, {datetime.date.today().isoformat()}.

## Data, quality, limits of use, licence

As the original says; Weft has not measured them.

## Defaults of decoding
{defaults or "none: greedy, to the end of the window"}

## Left out of the import
{rows}
"""


def _names(paths: tuple[str, ...]) -> tuple[str, ...]:
    """File names without folders, which say nothing on another machine."""
    return tuple(Path(path).name for path in paths)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
