"""Training: options in, events out, a bundle in the end."""

from weft.train.loop import train

__all__ = ["train"]
