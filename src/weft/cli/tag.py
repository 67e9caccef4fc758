"""weft tag: the entities of a text, with their places."""

from __future__ import annotations

import dataclasses
import json

from weft.cli.flags import Parser, add_backend_flags, backend_options
from weft.cli.lines import batches, one_line, tell
from weft.model import load

_EXAMPLES = """examples:
  weft tag "Angela Merkel visited Sofia."
  weft tag --model my-model --json < texts.txt

An entity is a line: label, its text, first character (from 0), the one after its last, probability, TABs between. Texts of
standard input are numbered from 1 in a column before that."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft tag", description="Find entities in texts, or in lines of standard input.", epilog=_EXAMPLES)
    parser.add_argument("text", nargs="*", help="texts; none: lines of standard input")
    parser.add_argument("--model", default="ner", help="bundle folder or shipped model (default: ner)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    parser.add_argument("--batch-lines", type=int, default=256, metavar="N", help="most lines read together (default: 256)")
    add_backend_flags(parser)
    arguments = parser.parse_args(argv)
    model, number = load(arguments.model, **backend_options(arguments)), 0
    model.require("tag")
    for lines in batches(arguments.text, arguments.batch_lines):
        for text, found in zip(lines, model.tag(lines), strict=True):
            number += 1
            if arguments.json:
                print(json.dumps({"text": text, "entities": [dataclasses.asdict(one) for one in found]}, ensure_ascii=False))
            for one in () if arguments.json else found:
                columns = [one.label, one_line(one.text), str(one.start), str(one.end), f"{one.probability:.4f}"]
                print("\t".join(columns if len(arguments.text) == 1 else [str(number), *columns]), flush=True)
        tell(model)
    return 0
