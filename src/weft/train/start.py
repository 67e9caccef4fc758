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
    stored = open_bundle(find_model(run.options.start)).tensors()
    head_fits = open_bundle(find_model(run.options.start)).config.head == run.config.head
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in stored and (head_fits or not name.startswith("head.")):
                parameter.copy_(torch.from_numpy(stored[name].wide()))
    return model
