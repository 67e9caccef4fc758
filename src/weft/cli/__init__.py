"""The command `weft`. A verb's module is imported only when the verb is used, so help is instant."""

from __future__ import annotations

import importlib
import io
import os
import sys

VERBS = {
    "translate": "translate texts, or standard input line by line",
    "complete": "go on with a prompt",
    "fill": "guess hidden words",
    "classify": "label texts",
    "tag": "find names and other entities in texts",
    "train": "train a model from files, or go on with a run",
    "evaluate": "score a model on files of examples",
    "import": "make a bundle of a Hugging Face checkpoint",
    "export": "make a Hugging Face checkpoint of a bundle",
    "shortlist": "learn which words a translator need choose among",
    "show": "show a model's architecture",
    "explain": "show how a model comes to its output, step by step",
    "bench": "measure a model's speed here, beside the machine's limits and other programs",
    "doctor": "prove on a model that batches, padding, caches and searches hold",
}

_HELP = """usage: weft VERB [options]

Train, run and own Transformer text models.

{verbs}

weft VERB --help shows a verb's options with examples; weft --version the version.

examples:
  weft translate "J'aime l'apprentissage automatique"
  weft complete "ROMEO:" --model shakespeare --sample
  weft train pairs.tsv --minutes 20 --out my-model
  weft evaluate my-model --data test.tsv"""


def main(argv: list[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 2 an error that is said, 130 interrupted."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: nobody reads
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as input is read, whatever the locale
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """The exit status of a command line; what it printed is flushed."""
    from weft.errors import WeftError

    try:
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except WeftError as error:
        print(f"weft: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("weft: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        _flush_or_drop()
        return 0
    except OSError as error:  # such as a full disk
        _flush_or_drop()
        print(f"weft: error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
        return 2


def _flush_or_drop() -> None:
    """Output that cannot be written is dropped, or Python would try again at its end, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs="\n".join(f"  {name:10} {what}" for name, what in VERBS.items())))
        return 0
    if argv[0] == "--version":
        from weft import __version__

        print(f"weft {__version__}")
        return 0
    if argv[0] not in VERBS:
        from weft.errors import UnknownNameError

        raise UnknownNameError("verb", argv[0], VERBS)
    try:
        return importlib.import_module(f"weft.cli.{argv[0]}").run(argv[1:])
    except SystemExit as stop:  # argparse has printed its help
        return int(stop.code or 0)
