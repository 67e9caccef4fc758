"""weft import: a Hugging Face checkpoint to a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.cli.flags import Parser, new_folder
from weft.convert import import_checkpoint
from weft.spec.parameters import count

MOST_NAMED = 8
"""Tensors left out for one reason that are named line by line."""
_EXAMPLES = """examples:
  weft import path/to/hf-folder gpt2-bundle
  weft import google/flan-t5-small flan-t5       (from the hub, with `pip install 'weft[hub]'`)

The folder holds config.json, *.safetensors and a tokenizer (tokenizer.json; vocab.json and merges.txt; vocab.txt; a
SentencePiece .model, with M2M100's vocab.json; or Marian's source.spm and vocab.json). A chat template comes along, for
weft complete --chat; it is rendered in a sandbox. Nothing else in the folder is executed, and pickle weights (.bin, .pt)
are refused."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft import", description="Make a bundle of a Hugging Face checkpoint.", epilog=_EXAMPLES)
    parser.add_argument("source", help="folder, or hub id owner/name")
    parser.add_argument("out", help="folder of the new bundle")
    parser.add_argument("--ignore-keys", nargs="+", default=(), metavar="KEY",
                        help="keys of config.json that Weft does not know and that you know to be harmless")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    arguments = parser.parse_args(argv)
    out = new_folder(arguments.out, arguments.overwrite)
    done = import_checkpoint(arguments.source, out, ignore_keys=arguments.ignore_keys)
    print(f"{done.path}: {done.family}, {done.config.kind}, {count(done.config):,} parameters, window "
          f"{done.config.window.target if done.config.decoder else done.config.window.source}")
    for line in _left_out(done.dropped):
        print(line)
    for note in done.notes:
        print(f"note: {note}")
    return 0


def _left_out(dropped: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A line for each name; one for many that are left out for the same reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in dropped:
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        shown = names if len(names) <= MOST_NAMED else names[:1]
        yield from (f"left out {name}: {reason}" for name in shown)
        if len(names) > len(shown):
            yield f"left out {len(names) - 1} more that card.md names: {reason}"
