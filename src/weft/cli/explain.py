"""weft explain: the journey of one input through a generating model, told in the terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from weft.cli.flags import Parser, add_backend_flags, add_generation_flags, backend_options, generation_options
from weft.cli.lines import tell
from weft.errors import UsageError
from weft.model import load
from weft.spec.config import LanguageModelHead
from weft.spec.decoding_trace import DecodingTrace

_EXAMPLES = """examples:
  weft explain "Le chat dort."
  weft explain "ROMEO:" --model shakespeare --max-new-tokens 10 --sample --top-p 0.9
  weft explain "Le chat dort." --beam 2 --steps 1-3 --save cat.trace
  weft explain "Le chat dort." --penalty-alpha 0.6 --top-k 4
  weft explain --from cat.trace

Told are: the tokens and their ids; what the first layer gets of each; the layers that read them; then, step by step, the
likeliest tokens with a bar of their probability, what rules removed, the number drawn, what was looked at (mean of all layers
and heads kept), and what became of each hypothesis; then the result. Of several draws (--n, --best-of) every one is told. On a
terminal in colour, elsewhere as plain text."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft explain", description="Show how a model comes to its output, for one input.", epilog=_EXAMPLES)
    parser.add_argument("text", nargs="?", help="a text to translate, or a prompt to go on with")
    parser.add_argument("--model", default="fr-en", help="bundle folder or shipped model (default: fr-en)")
    parser.add_argument("--steps", metavar="N[-M]", help="tell these steps only, from 1")
    parser.add_argument("--candidates", type=int, default=5, metavar="K", help="likeliest tokens to show a step (default: 5)")
    parser.add_argument("--layers", type=int, nargs="+", metavar="N", help="keep the attention of these layers only, from 0")
    parser.add_argument("--heads", type=int, nargs="+", metavar="N", help="keep these heads of attention only, from 0")
    parser.add_argument("--draft", metavar="MODEL", help="a smaller model with the same tokenizer that guesses ahead")
    parser.add_argument("--save", metavar="FILE", help="save the trace, for --from and for pictures")
    parser.add_argument("--from", dest="source", metavar="FILE", help="tell of a saved trace instead of running a model")
    add_backend_flags(parser)
    add_generation_flags(parser)
    arguments = parser.parse_args(argv)
    steps = _steps(arguments.steps)
    if (arguments.text is None) == (arguments.source is None):
        raise UsageError("give either a text to explain or --from with a saved trace")
    if arguments.candidates < 1:
        raise UsageError(f"--candidates is {arguments.candidates}; show 1 or more")
    options = generation_options(arguments)
    if arguments.source is not None:
        if options or arguments.save or arguments.layers or arguments.heads or arguments.draft:
            raise UsageError("--from tells of what was decoded before; options of decoding, --draft, --layers, --heads and "
                             "--save need a text")
        trace = DecodingTrace.load(arguments.source)
    else:
        trace = _traced(arguments, options)
    _print(trace, steps, arguments.candidates)
    return 0


def _traced(arguments: Namespace, options: dict[str, Any]) -> DecodingTrace:
    model = load(arguments.model, **backend_options(arguments))
    if model.config.decoder is None or not isinstance(model.config.head, LanguageModelHead):
        raise UsageError(f"explain is for models that generate text, token by token; {arguments.model} is "
                         f"{model.config.kind} with a {model.config.head.type} head. weft show model tells of any model")
    trace = model.trace(arguments.text, candidates=max(10, arguments.candidates), layers=arguments.layers,
                        heads=arguments.heads, draft=arguments.draft, **options)
    tell(model)
    if arguments.save:
        trace.save(arguments.save)
    return trace


def _steps(text: str | None) -> range | None:
    """`3` or `2-5`, from 1."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal() or not 1 <= int(first) <= int(last or first):
        raise UsageError(f"--steps is {text!r}; give a number from 1, such as 3, or two such as 2-5")
    return range(int(first), int(last or first) + 1)


def _print(trace: DecodingTrace, steps: range | None, candidates: int) -> None:
    from rich.console import Console

    from weft.inspect.journey import journey

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    count = len(trace.requests)
    for request in range(count):
        if count > 1:  # several draws, or the inputs of a saved trace
            console.print(f"{request + 1} of {count}\n" if request == 0 else f"\n{request + 1} of {count}\n")
        for line in journey(trace, request, steps=steps, candidates=candidates):
            console.print(line)
