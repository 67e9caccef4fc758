"""weft complete: what a decoder-only model adds to a prompt, as it is generated."""

from __future__ import annotations

import json
import sys

from weft.cli.flags import Parser, add_backend_flags, add_generation_flags, backend_options, generation_options
from weft.cli.lines import batches, tell
from weft.cli.results import LOGPROBS, as_json, token_lines
from weft.cli.settings import HELP, print_settings
from weft.errors import UsageError
from weft.model import Model, load
from weft.spec.events import TokenEvent
from weft.tasks.complete import Truncate

_EXAMPLES = f"""examples:
  weft complete "ROMEO:" --model shakespeare --max-new-tokens 200 --sample --temperature 0.8 --seed 7
  weft complete "Which is the capital of Bulgaria?" --model gpt2-bundle --max-new-tokens 32
  weft complete --model gpt2-bundle --json < prompts.txt
  weft complete "A list of fruits:" --model gpt2-bundle --stop "\\n\\n" --banned-words apple
  weft complete "The person as JSON:" --model gpt2-bundle --json-schema "$(cat person.schema.json)"
  weft complete --chat "Name three rivers of Bulgaria." --model qwen-bundle --max-new-tokens 100

Greedy unless --sample or --beams is given. A single prompt is answered as it is generated. On a terminal the prompt
stands before its completion, dimmed; elsewhere only the completion is printed, unless --echo asks for both. With --json
every line holds prompt, completion, tokens, log-probabilities, score, whether the model ended it and the reason (end, stop
or limit); with --logprobs the likeliest tokens of each step, with --n-best the alternatives.

{LOGPROBS}"""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft complete", description="Go on with prompts, or with lines of standard input.",
                    epilog=_EXAMPLES,
                    usage="weft complete --model MODEL [options] [text ...]")
    parser.add_argument("text", nargs="*", help="prompts; none: lines of standard input")
    parser.add_argument("--model", required=True, help="bundle folder or shipped model")
    parser.add_argument("--chat", action="store_true",
                        help="each text is what a user says; the model's chat template makes the prompt of it")
    parser.add_argument("--echo", action="store_true", help="print the prompt before its completion")
    parser.add_argument("--json", action="store_true", help="one JSON object a prompt")
    parser.add_argument("--truncate", choices=("refuse", "left"), default="refuse",
                        help="a prompt that leaves no room in the window: refuse, or cut its beginning (left)")
    parser.add_argument("--batch-lines", type=int, default=16, metavar="N", help="most lines completed together (default: 16)")
    parser.add_argument("--draft", metavar="MODEL", help="a smaller model with the same tokenizer that guesses ahead")
    parser.add_argument("--explain-settings", action="store_true", help=HELP)
    add_backend_flags(parser)
    add_generation_flags(parser)
    arguments = parser.parse_args(argv)
    if getattr(arguments, "prompt_logprobs", False) and not arguments.json:
        raise UsageError("--prompt-logprobs are told as JSON only; add --json")
    model = load(arguments.model, **backend_options(arguments))
    model.require("complete")
    options = generation_options(arguments)
    chosen = model.options(**options)
    if arguments.explain_settings:
        print_settings(model, chosen, options)
    if arguments.draft:
        options["draft"] = load(arguments.draft, **backend_options(arguments))
    if len(arguments.text) == 1 and not arguments.chat and chosen.beams == 1 and not chosen.needs_whole \
            and not arguments.json and not chosen.logprobs:
        _stream(model, arguments.text[0], arguments.echo, arguments.truncate, options)
        return 0
    number = 0
    for prompts in batches(arguments.text, arguments.batch_lines):
        if arguments.chat:
            results = [model.chat([{"role": "user", "content": text}], truncate=arguments.truncate, first=number + index,
                                  **options) for index, text in enumerate(prompts)]
        else:
            results = model.generate(prompts, truncate=arguments.truncate, first=number, **options)
        number += len(results)
        for prompt, result in zip(prompts, results, strict=True):
            if arguments.json:
                print(json.dumps({"prompt": prompt, **as_json(model, result)}, ensure_ascii=False))
            for one in () if arguments.json else result.alternatives or (result,):
                print("\n".join([(prompt if arguments.echo else "") + one.text, *token_lines(model, one)]))
        sys.stdout.flush()
        tell(model)
    return 0


def _stream(model: Model, prompt: str, echo: bool, truncate: Truncate, options: dict) -> None:
    begun = False
    for event in model.stream(prompt, truncate=truncate, **options):
        if not begun:  # the first event comes once the prompt is known to be good
            dimmed = sys.stdout.isatty()
            sys.stdout.write(f"\x1b[2m{prompt}\x1b[0m" if dimmed else prompt if echo else "")
            begun = True
        if isinstance(event, TokenEvent):
            sys.stdout.write(event.text)
            sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    tell(model)
