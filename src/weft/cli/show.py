"""weft show model: the resolved architecture of a bundle."""

from __future__ import annotations

from weft.bundle import find_model, open_bundle
from weft.cli.flags import Parser, add_backend_flags, backend_options
from weft.inspect.architecture import describe
from weft.inspect.engine import describe_engine
from weft.model import Model
from weft.spec.parameters import count

_EXAMPLES = """examples:
  weft show model fr-en
  weft show model llama-bundle --every-layer
  weft show model fr-en --engine --precision int8"""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft show", description="Show a model: parts, formula of a block, parameter table, size and work.",
                    epilog=_EXAMPLES)
    parser.add_argument("what", choices=("model",), help="what to show")
    parser.add_argument("model", help="bundle folder or shipped model")
    parser.add_argument("--every-layer", action="store_true", help="list the parameters of each layer")
    parser.add_argument("--engine", action="store_true",
                        help="list the operations that the native engine makes of it, with kernels and precisions")
    add_backend_flags(parser)
    arguments = parser.parse_args(argv)
    bundle = open_bundle(find_model(arguments.model))
    size = (bundle.path / "weights.safetensors").stat().st_size
    origin = f", imported from {bundle.family}" if bundle.family else ""
    print(f"{bundle.path.name}: task {bundle.task}{origin}")
    if arguments.engine:
        print(describe_engine(Model(bundle, **backend_options(arguments)), arguments.every_layer))
        return 0
    print(describe(bundle.config, bytes_each=size / max(count(bundle.config), 1), every_layer=arguments.every_layer))
    return 0
