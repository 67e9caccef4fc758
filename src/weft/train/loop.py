"""The training loop. It yields events and leaves their display to whoever reads them.

Data order, dropout and optimiser state are functions of the checkpoint, so a run that was killed and started
again gives the same weights, bit for bit, as one that was not (with a time budget the learning rate follows the
clock, which no run repeats).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from weft import data
from weft.bundle import write_atomically
from weft.errors import CheckpointError, DivergedError
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Model
from weft.spec import training as t
from weft.spec.parameters import count
from weft.train.averaging import Average
from weft.train.batch import Batch, make_batch
from weft.train.checkpoint import load_state, save_state
from weft.train.finish import write_bundle
from weft.train.flat import FlatParameters
from weft.train.logs import MetricsLog
from weft.train.optimiser import Adam
from weft.train.replicas import Replicas, replica_count
from weft.train.run import Run, open_run
from weft.train.schedule import learning_rate_factor
from weft.train.start import begin
from weft.train.validation import Validator

VALIDATIONS = 20
"""Validations of a run whose options do not say how often."""


@dataclass
class Position:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of the epoch already used."""
    tokens: int = 0
    seconds: float = 0.0
    validated: int = 0
    """Validations done, as twentieths of the run when they are planned by progress."""
    validated_step: int = -1
    validation_seconds: float = 0.0
    """What the last validation took."""
    best_step: int = 0
    best_loss: float = math.inf
    best_score: float | None = None
    bad: int = 0
    """Validations since the best."""
    unlogged: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Loss sum and tokens since the last progress event."""


def train(options: t.TrainingOptions, stop: Callable[[], bool] = lambda: False) -> Iterator[t.TrainingEvent]:
    """Train as `options` say, or go on with the run in options.out; yields events, the last one `Finished`.

    stop: asked after every update; True ends the run with a checkpoint and a bundle of the best weights so far.
    """
    began = time.monotonic()
    run = open_run(options)
    if run.finished:
        facts = json.loads((run.folder / "finished.json").read_text("utf-8"))
        yield t.Finished(facts["step"], str(run.out), facts["best_loss"], facts["best_score"],
                         facts["metric"], "already finished")
        return
    yield from Trainer(run, began, stop).events()


class Trainer:
    """One run in memory: model, optimiser, averages and position."""

    def __init__(self, run: Run, began: float, stop: Callable[[], bool]) -> None:
        self.run, self.options, self.stop, self.began = run, run.options, stop, began
        keep_large_blocks()
        torch.set_num_threads(run.options.threads or torch.get_num_threads())
        torch.manual_seed(run.options.seed)
        dtype = torch.bfloat16 if run.options.precision == "bf16" else torch.float32
        self.model = begin(Model(run.config).initialise(run.options.seed).train(), run)
        self.model.set_dropout(run.options.dropout or 0.0, run.options.attention_dropout,
                               run.options.activation_dropout)
        self.flat = FlatParameters(self.model, dtype)
        threads = torch.get_num_threads()
        self.replicas = Replicas(self.model, self.flat, threads, replica_count(self.model, threads))
        self.adam = Adam(self.flat, run.options)
        self.average = Average(self.flat.master, run.options.ema or 0.0, run.options.average)
        self.validator = Validator(run, dtype, self._batches(run.validation.lengths, 0, self._validation_batch))
        self.at = Position()
        self.examples = run.examples(0)
        """Of the present epoch."""
        self._epoch_size = 1
        """Updates of the present epoch."""
        self.log = MetricsLog(run.folder, run.options.tensorboard)
        self._saved = self._shown = time.monotonic()
        self._shown_tokens = 0
        self._total = self._total_steps()
        self.best: Tensor | None = None

    # ------------------------------------------------------------ the loop

    def events(self) -> Iterator[t.TrainingEvent]:
        warnings = self._resume()
        self.began -= self.at.seconds
        yield t.Started(str(self.run.out), self.at.step, self._total_steps(), count(self.run.config),
                        len(self.run.train), len(self.run.validation_examples), asdict(self.options),
                        tuple(self.run.notes))
        yield from map(t.Warned, warnings)
        reason = self._reason_to_end() if self.at.step else ""
        while not reason:
            for batches in self._updates():
                for event in self._update(batches):
                    self.log.write(event)
                    yield event
                reason = self._reason_to_end()
                if reason:
                    break
        yield from self._finish(reason)

    def _updates(self) -> Iterator[list[Batch]]:
        """The rest of the present epoch, as lists of small batches."""
        self.examples = self.run.examples(self.at.epoch)
        groups = self._epoch_batches(self.at.epoch)
        self._epoch_size = len(groups)
        while self.at.batch < len(groups):
            rows = groups[self.at.batch]
            self.at.batch += 1
            if self.at.batch == len(groups):
                self.at.epoch, self.at.batch = self.at.epoch + 1, 0
                yield self._cut(rows)
                return
            yield self._cut(rows)

    def _update(self, batches: list[Batch]) -> Iterator[t.TrainingEvent]:
        tokens = sum(batch.tokens for batch in batches)
        loss = self.replicas.backward(batches, self.options.label_smoothing or 0.0)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of update {self.at.step + 1} is {loss}: training has diverged. Lower "
                                f"--learning-rate (it is {self.options.learning_rate:g}) or lengthen --warmup "
                                f"({self.options.warmup}), with --overwrite or another --out")
        self.at.step += 1
        rate = (self.options.learning_rate or 0.0) * learning_rate_factor(
            self.options.schedule or "linear", self.at.step, self.options.warmup or 0, self._progress())
        norm = self.adam.step(rate, tokens)
        self.average.update(self.at.step)
        self.at.tokens += sum(batch.positions for batch in batches)
        self.at.unlogged = [self.at.unlogged[0] + loss, self.at.unlogged[1] + tokens]
        if self.at.step % self.options.log_every == 0:
            yield self._progress_event(rate, norm)
        if self._validation_due():
            yield self._validate()
            yield self._checkpoint()
        elif time.monotonic() - self._saved > self.options.checkpoint_seconds:
            yield self._checkpoint()

    # ------------------------------------------------------------ how far, and when

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def _total_steps(self) -> int | None:
        if self.options.steps is not None:
            return self.options.steps
        if self.options.epochs is not None:
            return max(1, round(self.options.epochs * len(self._epoch_batches(0))))
        return None

    def _progress(self) -> float:
        """Share of the run that is over, 0 to 1; of the time budget if there is one."""
        if self.options.minutes is not None:
            return min(1.0, self.seconds() / (self._budget() or 1e-9))
        return min(1.0, self.at.step / (self._total or 1))

    def _budget(self) -> float:
        """Seconds for updates: the whole budget less what the last validation will take."""
        return max(1.0, 60.0 * (self.options.minutes or 0.0) - 1.2 * self.at.validation_seconds)

    def _validation_due(self) -> bool:
        if self.options.validate_every is not None:
            return self.at.step % self.options.validate_every == 0
        due = int(self._progress() * VALIDATIONS)
        if due <= self.at.validated:
            return False
        self.at.validated = due
        return True

    def _reason_to_end(self) -> str:
        if self.stop():
            return "interrupted"
        if self.options.patience and self.at.bad >= self.options.patience:
            return "patience"
        if self.options.minutes is not None:
            return "minutes" if self.seconds() >= self._budget() else ""
        over = self.at.step >= (self._total or 0)
        return ("steps" if self.options.steps is not None else "epochs") if over else ""

    # ------------------------------------------------------------ batches

    def _batches(self, lengths: Any, seed: int, make: Callable[[list[int]], Batch]) -> list[Batch]:
        budget = self.options.batch_tokens or 4096
        return [make(rows.tolist()) for rows in data.batches(lengths, budget, seed=seed, epoch=0)]

    def _validation_batch(self, rows: list[int]) -> Batch:
        return make_batch(self.run.validation, rows, self.run.config)

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        groups = data.batches(self.examples.lengths, self.options.batch_tokens or 4096, seed=self.options.seed, epoch=epoch)
        return [rows.tolist() for rows in groups]

    def _cut(self, rows: list[int]) -> list[Batch]:
        """One update's examples as small batches of about equal size, `accumulate` for each replica."""
        parts = min((self.options.accumulate or 1) * len(self.replicas.models), len(rows))
        size = -(-len(rows) // parts)
        return [make_batch(self.examples, rows[start : start + size], self.run.config)
                for start in range(0, len(rows), size)]

    # ------------------------------------------------------------ events

    def _progress_event(self, rate: float, norm: float) -> t.Progress:
        now = time.monotonic()
        speed = (self.at.tokens - self._shown_tokens) / max(now - self._shown, 1e-9)
        self._shown, self._shown_tokens = now, self.at.tokens
        loss = self.at.unlogged[0] / max(self.at.unlogged[1], 1)
        self.at.unlogged = [0.0, 0.0]
        progress = self._progress()
        left = self.seconds() * (1.0 - progress) / progress if progress > 0 else None
        return t.Progress(self.at.step, round(self.at.epoch + self.at.batch / self._epoch_size, 3), loss, rate, norm, speed,
                          self.seconds(), left)

    def _validate(self) -> t.Validated:
        start = time.monotonic()
        self.average.snapshot()
        self.validator.load(self.flat, self.average.weights())
        loss = self.validator.loss()
        wanted = max(self.options.validation_examples, self.options.samples)
        outputs = self.validator.answers(wanted) if wanted else []
        score = self.validator.score(outputs) if self.options.validation_examples and outputs else None
        best = self._is_better(loss, score)
        self.at.bad = 0 if best else self.at.bad + 1
        if best:
            self.at.best_loss, self.at.best_score, self.at.best_step = loss, score, self.at.step
            self.best = self.average.weights().clone()
        self.at.validated_step, self.at.validation_seconds = self.at.step, time.monotonic() - start
        samples = tuple((*self.run.validation_examples[i], output)
                        for i, output in enumerate(outputs[: self.options.samples]))
        return t.Validated(self.at.step, loss, math.exp(min(loss, 700.0)), self.run.task.metric, score, best, samples)

    def _is_better(self, loss: float, score: float | None) -> bool:
        """Than the best so far: by the score where the task goes by it and there is one, else by the loss."""
        if self.run.task.by_score and score is not None and self.at.best_score is not None:
            return (score, -loss) > (self.at.best_score, -self.at.best_loss)
        return loss < self.at.best_loss

    # ------------------------------------------------------------ saving and going on

    def _state(self) -> dict[str, Tensor]:
        best = {} if self.best is None else {"best": self.best}
        return {"master": self.flat.master, "rng": torch.get_rng_state(), **self.adam.state(),
                **self.average.state(), **best}

    def _checkpoint(self) -> t.Checkpointed | t.Warned:
        self._saved = time.monotonic()
        self.at.seconds = self.seconds()
        try:
            path = save_state(self.run.folder, self.at.step, self._state(), asdict(self.at))
        except CheckpointError as error:
            return t.Warned(str(error))
        return t.Checkpointed(self.at.step, str(path))

    def _resume(self) -> list[str]:
        """Take up the newest state, if any; returns warnings."""
        loaded = load_state(self.run.folder)
        if loaded is None:
            return []
        tensors, facts, warnings = loaded
        self.at = Position(**facts)
        self._shown_tokens = self.at.tokens
        self.flat.master.copy_(tensors["master"])
        self.flat.publish()
        self.adam.load(tensors)
        self.average.load(tensors)
        self.best = tensors.get("best")
        torch.set_rng_state(tensors["rng"])
        return warnings

    def _finish(self, reason: str) -> Iterator[t.TrainingEvent]:
        if reason == "interrupted":
            yield self._checkpoint()
        if self.best is None or (reason != "interrupted" and self.at.validated_step != self.at.step):
            event = self._validate()
            self.log.write(event)
            yield event
        assert self.best is not None
        bundle = write_bundle(self.run, self.flat.state(self.best), self.at, self.seconds())
        best_loss = None if math.isinf(self.at.best_loss) else self.at.best_loss
        finished = t.Finished(self.at.step, str(bundle), best_loss, self.at.best_score, self.run.task.metric, reason)
        if reason != "interrupted":
            write_atomically(self.run.folder / "finished.json", json.dumps(asdict(finished)).encode())
            for state in self.run.folder.glob("state-*.safetensors"):
                state.unlink()
        self.log.write(finished)
        yield finished
