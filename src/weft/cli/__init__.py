"""The command `weft`. A verb's module is imported only when the verb is used, so help is instant."""

from __future__ import annotations

import importlib
import os
import sys

VERBS = {
    "translate": "translate texts, or standard input line by line",
    "train": "train a model from files, or go on with a run",
    "evaluate": "score a model on a file of sentence pairs",
}

_HELP = """usage: weft VERB [options]

Train, run and own Transformer text models.

{verbs}

weft VERB --help shows a verb's options with examples; weft --version the version.

examples:
  weft translate "J'aime l'apprentissage automatique"
  weft train pairs.tsv --minutes 20 --out my-model
  weft evaluate my-model --data test.tsv"""


def main(argv: list[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 an error in what was asked, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """The exit status of a command line."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs="\n".join(f"  {name:10} {what}" for name, what in VERBS.items())))
        return 0
    if argv[0] == "--version":
        from weft import __version__

        print(f"weft {__version__}")
        return 0
    from weft.errors import UnknownNameError, WeftError

    try:
        if argv[0] not in VERBS:
            raise UnknownNameError("verb", argv[0], VERBS)
        return importlib.import_module(f"weft.cli.{argv[0]}").run(argv[1:])
    except WeftError as error:
        print(f"weft: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("weft: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
