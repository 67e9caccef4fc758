"""weft translate: texts from the command line, or lines from standard input, in order and as they are ready."""

from __future__ import annotations

import json
import sys

from weft.cli.flags import Parser, add_backend_flags, add_generation_flags, backend_options, generation_options
from weft.cli.lines import batches, one_line, progress, tell
from weft.cli.results import LOGPROBS, as_json, token_lines
from weft.cli.settings import HELP, print_settings
from weft.errors import UsageError
from weft.model import Model, Result, load

_EXAMPLES = f"""examples:
  weft translate "J'aime l'apprentissage automatique"
  weft translate --model en-fr "I love machine learning"
  cat letters.fr | weft translate > letters.en
  weft translate --model nllb-bundle --from eng_Latn --to bul_Cyrl "Where is the station?"
  weft translate --beam 5 --n-best 3 --scores "Où est la gare ?"
  weft translate --sample --top-p 0.9 --seed 7 "Bonjour."
  weft translate --logprobs 3 --json "Bonjour."

With --n-best or --n above 1 every input gives that many lines: number of the input, from 1, TAB, translation; with
--scores the score comes first, TAB, on each line. Blank lines stay blank.

{LOGPROBS} With --json every line is one object:
source, translation, tokens, log-probabilities, score, whether the model ended it and the reason, alternatives."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft translate", description="Translate texts, or standard input line by line.",
                    epilog=_EXAMPLES,
                    usage="weft translate [options] [text ...]")
    parser.add_argument("text", nargs="*", help="texts to translate; none: lines of standard input")
    parser.add_argument("--model", default="fr-en", help="bundle folder or shipped model (default: fr-en)")
    parser.add_argument("--from", dest="source", default="", metavar="CODE",
                        help="language of the texts, of a model of many (eng_Latn, en_XX, en); default: its checkpoint's")
    parser.add_argument("--to", dest="target", default="", metavar="CODE", help="language to translate into, of such a model")
    parser.add_argument("--scores", action="store_true", help="print the score before each translation")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
    parser.add_argument("--batch-lines", type=int, default=64, metavar="N",
                        help="most lines translated together (default: 64)")
    parser.add_argument("--too-long", choices=("split", "refuse"), default="split",
                        help="a text beyond the model's window: split at sentence ends with a notice, or refuse")
    parser.add_argument("--draft", metavar="MODEL", help="a smaller model with the same tokenizer that guesses ahead")
    parser.add_argument("--explain-settings", action="store_true", help=HELP)
    add_backend_flags(parser)
    add_generation_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.json and arguments.scores:
        raise UsageError("--json tells the score already; drop --scores")
    model = load(arguments.model, **backend_options(arguments))
    model.require("translate")
    model = model.between(arguments.source, arguments.target)
    options = generation_options(arguments)
    chosen = model.options(**options)  # refuse what cannot be before the first line is read
    if arguments.explain_settings:
        print_settings(model, chosen, options)
    if arguments.draft:
        options["draft"] = load(arguments.draft, **backend_options(arguments))
    with progress("translating", bool(arguments.text)) as bar:
        number = 0
        for lines in batches(arguments.text, arguments.batch_lines):
            results = model.generate(lines, too_long=arguments.too_long, first=number, **options)
            for line, result in zip(lines, results, strict=True):
                number += 1
                if arguments.json:
                    print(json.dumps({"source": line, **as_json(model, result, "translation")}, ensure_ascii=False))
                else:
                    _print(model, result, number if max(chosen.n_best, chosen.n) > 1 else None, arguments.scores)
            sys.stdout.flush()
            tell(model)
            if bar is not None:
                bar.advance(len(lines))
    return 0


def _print(model: Model, result: Result, number: int | None, scores: bool) -> None:
    for alternative in result.alternatives or (result,):
        parts = [f"{alternative.score:.4f}"] if scores else []
        if number is not None:
            parts.append(str(number))
        print("\t".join([*parts, one_line(alternative.text)]), *token_lines(model, alternative), sep="\n")
