"""weft export: a bundle to a folder that Hugging Face transformers opens."""

from __future__ import annotations

from weft.bundle import find_model, open_bundle
from weft.cli.flags import Parser, new_folder
from weft.convert import export_bundle
from weft.families.generation import unsaid

_EXAMPLES = """examples:
  weft export gpt2-bundle hf-folder
  weft export my-completer hf-folder --family llama"""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft export", description="Make a Hugging Face checkpoint of a bundle.", epilog=_EXAMPLES)
    parser.add_argument("model", help="bundle folder or shipped model")
    parser.add_argument("out", help="folder of the new checkpoint")
    parser.add_argument("--family", help="format to write; default: the one it was imported from")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    arguments = parser.parse_args(argv)
    out = new_folder(arguments.out, arguments.overwrite)
    bundle = open_bundle(find_model(arguments.model))
    print(export_bundle(bundle, out, arguments.family))
    for name in unsaid(bundle.generation):
        print(f"left out {name} = {bundle.generation[name]!r:.60}: generation_config.json has no word for it")
    return 0
