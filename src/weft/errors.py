"""Every error Weft raises on purpose. It knows nothing of the rest of the package.

    WeftError
    ├── UsageError          an option or argument cannot be used as given
    │   └── UnknownNameError    a name outside a closed set; suggests the nearest
    ├── ConfigError         a model or training configuration contradicts itself
    ├── DataError           a data file cannot be read as what it should be
    ├── TokenizerError      a tokenizer cannot be trained, read or used
    ├── BundleError         a folder is not a bundle, or a bundle is damaged
    │   └── FingerprintError    the tokenizer is not the one the model was trained with
    ├── WindowError         an input does not fit the model's window
    ├── CheckpointError     a training state cannot be written, read or continued
    └── DivergedError       training has gone wrong beyond repair

A message names the value, the limit, the likely cause and the next step.
"""

from __future__ import annotations

from collections.abc import Iterable


class WeftError(Exception):
    """Base of all errors that a caller of Weft may want to catch."""


class UsageError(WeftError):
    """An option or argument cannot be used as given."""


class UnknownNameError(UsageError):
    """A name is not in its closed set; the message suggests the nearest known one, or gives the `hint`."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        import difflib  # here, for every start of the command would wait for it

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = hint or (f" Did you mean {near[0]!r}?" if near else "")
        super().__init__(f"unknown {what} {name!r}.{hint} Known: {', '.join(names)}.")


class ConfigError(WeftError):
    """A configuration has an unknown key, a bad value, or contradicts itself."""


class DataError(WeftError):
    """A data file cannot be read as what it should be."""


class TokenizerError(WeftError):
    """A tokenizer cannot be trained, read or used."""


class BundleError(WeftError):
    """A folder is not a bundle, or a bundle is damaged."""


class FingerprintError(BundleError):
    """The tokenizer in a bundle is not the one its model was trained with."""


class WindowError(WeftError):
    """An input does not fit the model's window."""


class CheckpointError(WeftError):
    """A training state cannot be written, read or continued."""


class DivergedError(WeftError):
    """Training has gone wrong beyond repair: the loss is not a number."""
