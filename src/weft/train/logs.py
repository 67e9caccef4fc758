"""Events on disk: one JSON object a line in metrics.jsonl, and TensorBoard files on request."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weft.errors import UsageError
from weft.spec.training import Progress, TrainingEvent, Validated


class MetricsLog:
    """Appends events to FOLDER/metrics.jsonl; a run that goes on appends to the same file."""

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        self.path = folder / "metrics.jsonl"
        self.board: Any = _summary_writer(folder) if tensorboard else None

    def write(self, event: TrainingEvent) -> None:
        record = {"event": type(event).__name__.lower(), **asdict(event)}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError:
            return  # a full disk must not end a run: the checkpoint's warning tells the user
        if self.board is not None and isinstance(event, (Progress, Validated)):
            for name, value in record.items():
                if isinstance(value, float) and name != "event":
                    self.board.add_scalar(f"{record['event']}/{name}", value, event.step)
            self.board.flush()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard files need the package tensorboard: pip install 'weft[tensorboard]', or drop "
                         "--tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))
