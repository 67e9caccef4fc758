"""weft train: options from flags and a recipe, events to the terminal."""

from __future__ import annotations

import dataclasses
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft.cli.flags import Parser, add_flags, given
from weft.errors import ConfigError, UnknownNameError, UsageError
from weft.spec import training as t
from weft.spec.tagged import from_dict

_EXAMPLES = """examples:
  weft train pairs.tsv                                  a good model for the amount of data, in pairs-model/
  weft train pairs.tsv --minutes 20 --out my-model      the best in 20 minutes on this machine
  weft train pairs.tsv --validation dev.tsv --size small --steps 10000 --out my-model
  weft train recipes/multi30k.en-de.toml --data-root data --seed 1 --out runs/de-1

A recipe (.toml) holds the same options, one a line: batch_tokens = 4096. Flags override it. The same command goes on
with a run that was stopped or killed. Ctrl-C saves a checkpoint and a bundle of the best weights so far."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft train", description="Train a model from files, or go on with a run.", epilog=_EXAMPLES)
    parser.add_argument("data", nargs="*", default=[], help="training files (.tsv, .tsv.gz), or one recipe (.toml)")
    add_flags(parser, t.TrainingOptions)
    options = read_options(given(parser.parse_args(argv), t.TrainingOptions))
    from weft.train import train

    with _stoppable() as stop:
        show = _Bar() if sys.stderr.isatty() else _Lines()
        with show:
            for event in train(options, stop=stop):
                show(event)
                if isinstance(event, t.Finished) and event.reason == "interrupted":
                    return 130
    return 0


_LENGTHS = ("minutes", "steps", "epochs")
"""Ways to say how long a run is: a flag replaces whichever the recipe has."""


def read_options(flags: dict[str, Any]) -> t.TrainingOptions:
    """Flags, over a recipe if the one data file is a .toml. Raises ConfigError or UsageError."""
    data = flags.pop("data", ())
    recipe: dict[str, Any] = {}
    if len(data) > 1 and any(name.endswith(".toml") for name in data):
        raise UsageError(f"{', '.join(data)}: a recipe (.toml) stands alone; data files go into it, as data = [...]")
    if len(data) == 1 and data[0].endswith(".toml"):
        recipe, data = _read_recipe(Path(data[0])), ()
    if any(name in flags for name in _LENGTHS):
        recipe = {key: value for key, value in recipe.items() if key not in _LENGTHS}
    values = recipe | flags | ({"data": list(data)} if data else {})
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return from_dict(t.TrainingOptions, values, "options")


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no recipe {path}; the current folder is {Path.cwd()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error}") from error
    names = [field.name for field in dataclasses.fields(t.TrainingOptions)]
    for key in recipe:
        if key not in names:
            raise ConfigError(f"{path}: {UnknownNameError('key', key, names)}")
    return {key: [value] if key in ("data", "validation") and isinstance(value, str) else value
            for key, value in recipe.items()}


@contextmanager
def _stoppable() -> Iterator[Any]:
    """Gives a function that says whether Ctrl-C was pressed; a second one ends the program at once."""
    pressed: list[bool] = []

    def note(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        print("\nweft: stopping after this update (Ctrl-C again to stop at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- what is shown


def _started(event: t.Started) -> str:
    settings = event.settings
    length = next((f"{settings[name]:g} {name}" for name in ("minutes", "steps", "epochs") if settings[name]), "")
    lines = [f"training {event.out}: {settings['family']} {settings['size']}, {event.parameters:,} parameters, "
             f"{event.train_examples:,} examples, {length}, {settings['precision']}, {settings['threads']} threads"]
    if event.step:
        lines.append(f"going on from update {event.step:,}")
    return "\n".join([*lines, *(f"note: {note}" for note in event.notes)])


def _validated(event: t.Validated) -> str:
    score = "" if event.score is None else f", {event.metric} {event.score:.1f}"
    head = f"update {event.step:,}: validation loss {event.loss:.4f}, perplexity {event.perplexity:.2f}{score}" + (
        " (best)" if event.best else "")
    return "\n".join([head, *(f"    {source}\n    = {reference}\n    > {output}"
                              for source, reference, output in event.samples)])


_ENDS = {"minutes": "the time is up", "steps": "all updates are done,", "epochs": "all epochs are done,",
         "patience": "no better loss for a while,", "interrupted": "stopped"}


def _finished(event: t.Finished) -> str:
    score = "" if event.best_loss is None else f"; best validation loss {event.best_loss:.4f}" + (
        "" if event.best_score is None else f", {event.metric} {event.best_score:.1f}")
    after = " Give the same command to go on." if event.reason == "interrupted" else ""
    return f"{_ENDS.get(event.reason, event.reason)} after update {event.step:,}{score}. The model is in {event.bundle}.{after}"


def _progress(event: t.Progress) -> str:
    left = "" if event.seconds_left is None else f", {_clock(event.seconds_left)} left"
    return (f"update {event.step:,}, epoch {event.epoch:.2f}, loss {event.loss:.3f}, rate {event.learning_rate:.2e}, "
            f"{event.tokens_per_second:,.0f} tokens/s, {_clock(event.seconds)}{left}")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _Lines:
    """Plain lines on standard error, a progress line every half minute: for logs."""

    every = 30.0

    def __init__(self) -> None:
        self._last = 0.0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: t.TrainingEvent) -> None:
        if isinstance(event, t.Progress):
            if event.seconds - self._last >= self.every:
                self._last = event.seconds
                self.say(_progress(event))
        elif not isinstance(event, t.Checkpointed):
            self.say(_text(event))

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Bar(_Lines):
    """A live bar on a terminal, lines above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"),
                             console=Console(stderr=True))
        self._task = self._bar.add_task("preparing the data", total=None)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, event: t.TrainingEvent) -> None:
        if isinstance(event, t.Progress):
            total = None if event.seconds_left is None else event.seconds + event.seconds_left
            self._bar.update(self._task, description=_progress(event), total=total, completed=event.seconds)
        else:
            super().__call__(event)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


def _text(event: t.TrainingEvent) -> str:
    if isinstance(event, t.Started):
        return _started(event)
    if isinstance(event, t.Validated):
        return _validated(event)
    if isinstance(event, t.Finished):
        return _finished(event)
    return f"weft: warning: {event.message}" if isinstance(event, t.Warned) else ""
