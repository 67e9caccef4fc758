"""Decoding: a runner and options in, events out. NumPy only; backends come in through weft.spec.runner.Runner."""

from weft.decode.loop import generate, generate_batch

__all__ = ["generate", "generate_batch"]
