"""The end of a run: a bundle of its best weights, with a card that says where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from weft.bundle import save_bundle
from weft.card import bundle_card
from weft.train.run import Run

if TYPE_CHECKING:
    from weft.train.loop import Position

GENERATION = {"encoder-decoder": {"beams": 4, "length_penalty": 1.0}, "decoder-only": {}, "encoder-only": {}}
"""Defaults of decoding by kind of model."""


def write_bundle(run: Run, weights: dict[str, Tensor], at: Position, seconds: float) -> Path:
    """Write the run's output folder as a bundle."""
    metrics: dict[str, object] = {"validation loss (nats a token)": round(at.best_loss, 4)}
    if at.best_score is not None:
        count = min(run.options.validation_examples, len(run.validation_examples))
        signature = run.task.scores(["O"], ["O"])[0].signature
        metrics[f"validation {run.task.metric} (greedy, first {count} examples; {signature})"] = round(at.best_score, 2)
    special = run.config.special
    never = {special.pad, special.unk, special.bos, special.start} - {special.eos}
    banned = sorted(token for token in never if token is not None)
    card = bundle_card(run.config, run.options, metrics, name=run.out.resolve().name, seconds=seconds,
                       step=at.best_step)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    generation = GENERATION[run.config.kind] | ({} if run.config.decoder is None else {"banned": banned})
    return save_bundle(run.out, run.config, arrays, run.tokenizer.to_json(), generation, card, task=run.options.task)
