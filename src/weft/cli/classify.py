"""weft classify: the label of a text, and the probability of each label."""

from __future__ import annotations

import json

from weft.cli.flags import Parser, add_backend_flags, backend_options
from weft.cli.lines import batches, tell
from weft.model import load
from weft.tasks.classify import Classified

_EXAMPLES = """examples:
  weft classify "a gripping, funny film"
  weft classify --model my-model --json < texts.txt

A text is a line: its label, then every label with its probability, TABs between. A model of a regression gives its numbers
in place of probabilities. A blank line stays blank; with --json its label is null."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft classify", description="Label texts, or lines of standard input.", epilog=_EXAMPLES)
    parser.add_argument("text", nargs="*", help="texts; none: lines of standard input")
    parser.add_argument("--model", default="sentiment", help="bundle folder or shipped model (default: sentiment)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    parser.add_argument("--batch-lines", type=int, default=256, metavar="N", help="most lines read together (default: 256)")
    add_backend_flags(parser)
    arguments = parser.parse_args(argv)
    model = load(arguments.model, **backend_options(arguments))
    model.require("classify")
    for lines in batches(arguments.text, arguments.batch_lines):
        answers = iter(model.classify([line for line in lines if line.strip()]))
        for line in lines:
            answer = next(answers) if line.strip() else None
            print(_json(line, answer) if arguments.json else _columns(answer), flush=True)
        tell(model)
    return 0


def _json(text: str, answer: Classified | None) -> str:
    shares = {label: round(share, 6) for label, share in answer.probabilities.items()} if answer else {}
    return json.dumps({"text": text, "label": answer.label if answer else None, "probabilities": shares}, ensure_ascii=False)


def _columns(answer: Classified | None) -> str:
    if answer is None:
        return ""
    return "\t".join([answer.label, *(f"{label} {share:.4f}" for label, share in answer.probabilities.items())])
