"""weft fill: ranked candidates for hidden words."""

from __future__ import annotations

import json

from weft.cli.flags import Parser, add_backend_flags, backend_options
from weft.cli.lines import batches, one_line
from weft.model import load
from weft.tasks.fill import Candidate

_EXAMPLES = """examples:
  weft fill "The capital of Bulgaria is [MASK]." --model bert-bundle
  weft fill "I [MASK] you [MASK]." --model bert-bundle --top 3 --json

Each candidate is a line: probability, TAB, token. With several hidden words the number of the word, from 1, comes first;
each is guessed with all of them hidden. A blank line stays blank."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft fill", description="Guess the hidden words of texts, or of lines of standard input.",
                    epilog=_EXAMPLES)
    parser.add_argument("text", nargs="*", help="texts with [MASK] or <mask>; none: lines of standard input")
    parser.add_argument("--model", required=True, help="bundle folder or shipped model")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="candidates a word (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    add_backend_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        parser.error(f"--top is {arguments.top}; it must be 1 or more")
    model = load(arguments.model, **backend_options(arguments))
    model.require("fill")
    for lines in batches(arguments.text, 1):
        for text in lines:
            found = model.fill(text, arguments.top) if text.strip() else []
            print(_json(text, found) if arguments.json else _columns(found), flush=True)
    return 0


def _json(text: str, found: list[list[Candidate]]) -> str:
    words = [[{"token": one.text, "probability": round(one.probability, 6)} for one in row] for row in found]
    return json.dumps({"text": text, "words": words}, ensure_ascii=False)


def _columns(found: list[list[Candidate]]) -> str:
    several = len(found) > 1
    return "\n".join("\t".join([*([str(number)] if several else []), f"{one.probability:.4f}", one_line(one.text)])
                     for number, row in enumerate(found, 1) for one in row)
