"""Weft: train, run, show and own Transformer text models.

    model = weft.load("fr-en")
    model.translate(["Bonjour."])

Names are imported when first used, so that `import weft` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "DecodingTrace": "weft.spec.decoding_trace",
    "GenerationOptions": "weft.spec.decoding",
    "Model": "weft.model",
    "ModelConfig": "weft.spec.config",
    "Result": "weft.model",
    "Serving": "weft.serving",
    "Tokenizer": "weft.text",
    "Trace": "weft.spec.trace",
    "TrainingOptions": "weft.spec.training",
    "WeftError": "weft.errors",
    "ensemble": "weft.ensembles",
    "load": "weft.model",
}

__all__ = ["DecodingTrace", "GenerationOptions", "Model", "ModelConfig", "Result", "Serving", "Tokenizer", "Trace",
           "TrainingOptions", "WeftError", "__version__", "ensemble", "load", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        return importlib.import_module("weft.train")  # a callable package
    if name not in _HOME:
        raise AttributeError(f"module 'weft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
