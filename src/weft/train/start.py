"""A run that begins with the weights of another bundle: fine-tuning."""

from __future__ import annotations

import torch

from weft.bundle import find_model, open_bundle
from weft.nn.model import Model
from weft.train.run import Run


def begin(model: Model, run: Run) -> Model:
    """Give `model` the weights of the bundle that the run starts from, if it does; what is not in it stays as it is."""
    if not run.options.start:
        return model
    bundle = open_bundle(find_model(run.options.start))
    stored, before, now = bundle.tensors(), bundle.config.head, run.config.head
    fits = tuple(prefix for prefix, same in (
        ("head.transform", getattr(before, "transform", None) == getattr(now, "transform", None)),
        ("head.", before == now)) if same)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in stored and (not name.startswith("head.") or name.startswith(fits)):
                parameter.copy_(torch.from_numpy(stored[name].wide()))
    return model
