"""weft complete: what a decoder-only model adds to a prompt, as it is generated."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from weft.cli.flags import Parser, add_generation_flags, generation_options
from weft.cli.lines import batches, tell
from weft.cli.settings import HELP, print_settings
from weft.model import Model, Result, load
from weft.spec.events import TokenEvent
from weft.tasks.complete import Truncate

_EXAMPLES = """examples:
  weft complete "ROMEO:" --model shakespeare --max-new-tokens 200 --sample --temperature 0.8 --seed 7
  weft complete "Which is the capital of Bulgaria?" --model gpt2-bundle --max-new-tokens 32
  weft complete --model gpt2-bundle --json < prompts.txt
  weft complete "A list of fruits:" --model gpt2-bundle --stop "\\n\\n" --banned-words apple
  weft complete "The person as JSON:" --model gpt2-bundle --json-schema "$(cat person.schema.json)"
  weft complete --chat "Name three rivers of Bulgaria." --model qwen-bundle --max-new-tokens 100

Greedy unless --sample or --beams is given. A single prompt is answered as it is generated. On a terminal the prompt
stands before its completion, dimmed; elsewhere only the completion is printed, unless --echo asks for both. With --json
every line holds prompt, completion, tokens, log-probabilities, score, whether the model ended it and the reason (end, stop
or limit); with --logprobs the likeliest tokens of each step, with --n-best the alternatives."""


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
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="compute in (default: fp32)")
    parser.add_argument("--draft", metavar="MODEL", help="a smaller model with the same tokenizer that guesses ahead")
    parser.add_argument("--explain-settings", action="store_true", help=HELP)
    add_generation_flags(parser)
    arguments = parser.parse_args(argv)
    model = load(arguments.model, precision=arguments.precision)
    model.require("complete")
    options = generation_options(arguments)
    chosen = model.options(**options)
    if arguments.explain_settings:
        print_settings(model, chosen, options)
    if arguments.draft:
        options["draft"] = load(arguments.draft, precision=arguments.precision)
    if len(arguments.text) == 1 and not arguments.chat and chosen.beams == 1 and not chosen.needs_whole \
            and not arguments.json:
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
                print(json.dumps({"prompt": prompt, **_said(model, result)}, ensure_ascii=False))
            for one in () if arguments.json else result.alternatives or (result,):
                print((prompt if arguments.echo else "") + one.text)
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


def _said(model: Model, result: Result) -> dict[str, Any]:
    """A result as JSON tells it; the best first among the alternatives too."""
    said: dict[str, Any] = {
        "completion": result.text, "tokens": result.tokens, "logprobs": [round(value, 4) for value in result.logprobs],
        "score": round(result.score, 4), "ended": result.finished, "reason": result.reason}
    if result.top_logprobs:
        said["top_logprobs"] = [[{"id": token, "token": model.tokenizer.tokens([token])[0], "logprob": round(value, 4)}
                                 for token, value in step] for step in result.top_logprobs]
    if result.prompt_logprobs:
        said["prompt_logprobs"] = [round(value, 4) for value in result.prompt_logprobs]
    if result.alternatives:
        said["alternatives"] = [_said(model, replace(one, alternatives=())) for one in result.alternatives]
    return said
