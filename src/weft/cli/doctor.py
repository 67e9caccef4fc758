"""weft doctor: prove on a model of one's own that batches, padding, caches and searches hold."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from weft.cli.flags import Parser, add_backend_flags, backend_options
from weft.inspect.checks import findings
from weft.model import load

_EXAMPLES = """examples:
  weft doctor fr-en
  weft doctor my-model --backend native --precision int8

Each check compares two ways to the same answer on random tokens, in fp32: an input alone and among others, padded and not,
step by step and at once, one beam and greedy, the engine and PyTorch, and so on. A line says what was compared and the largest
difference; what narrower numbers change is told, and fails nothing.

exit status: 0 when all checks hold, 1 when one fails, 2 for a folder that cannot be opened."""
_MARKS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("told", "dim")}


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft doctor", description="Prove on a model what must hold of any.", epilog=_EXAMPLES)
    parser.add_argument("model", help="bundle folder or shipped model")
    add_backend_flags(parser)
    arguments = parser.parse_args(argv)
    run_by = backend_options(arguments)
    if arguments.precision == "auto":
        run_by["precision"] = "fp32"
    console, failed = Console(highlight=False, soft_wrap=True), 0
    for finding in findings(load(arguments.model, **run_by)):
        mark, style = _MARKS[finding.passed]
        console.print(Text(f"{mark:6}", style).append(f"  {finding.name}: {finding.told}", "default"))
        failed += finding.passed is False
    console.print(f"{failed} failed" if failed else "all hold")
    return 1 if failed else 0
