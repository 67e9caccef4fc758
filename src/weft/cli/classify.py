"""weft classify: the label of a text, and the probability of each label."""

from __future__ import annotations

import json

from weft.cli.flags import Parser
from weft.cli.lines import batches, tell
from weft.model import load

_EXAMPLES = """examples:
  weft classify "a gripping, funny film"
  weft classify --model my-model --json < texts.txt

A text is a line: its label, then every label with its probability, TABs between. A blank line stays blank."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft classify", description="Label texts, or lines of standard input.", epilog=_EXAMPLES)
    parser.add_argument("text", nargs="*", help="texts; none: lines of standard input")
    parser.add_argument("--model", default="sentiment", help="bundle folder or shipped model (default: sentiment)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    parser.add_argument("--batch-lines", type=int, default=256, metavar="N", help="most lines read together (default: 256)")
    arguments = parser.parse_args(argv)
    model = load(arguments.model)
    for lines in batches(arguments.text, arguments.batch_lines):
        answers = iter(model.classify([line for line in lines if line.strip()]))
        for line in lines:
            print(_line(line, next(answers), arguments.json) if line.strip() else "", flush=True)
        tell(model)
    return 0


def _line(text: str, answer: object, as_json: bool) -> str:
    from weft.tasks.classify import Classified

    assert isinstance(answer, Classified)
    shares = {label: round(share, 6) for label, share in answer.probabilities.items()}
    if as_json:
        return json.dumps({"text": text, "label": answer.label, "probabilities": shares}, ensure_ascii=False)
    return "\t".join([answer.label, *(f"{label} {share:.4f}" for label, share in answer.probabilities.items())])
