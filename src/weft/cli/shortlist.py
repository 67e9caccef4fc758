"""weft shortlist: learn of pairs which target tokens each source token is likely to become, and put it into the bundle."""

from __future__ import annotations

from weft.bundle import add_shortlist
from weft.cli.flags import Parser
from weft.data import read_pairs, require_examples
from weft.model import load
from weft.spec.ranges import Range, check_number
from weft.text.shortlist import learn

_EXAMPLES = """examples:
  weft shortlist my-model --data pairs.tsv
  weft shortlist fr-en --data tatoeba.en-fr.train.tsv.gz --source-column 1 --target-column 0
  weft translate --model my-model --shortlist "Bonjour."
  weft evaluate my-model --data test.tsv --shortlist

Give the pairs that the model was trained on. Translating with --shortlist then computes the likely part of the output layer
only: the frequent tokens and what the source's own tokens often become. Look at the score with it before you use it. Training
the model again drops the list, which belongs to its tokens."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft shortlist", description="Learn which words a translator need choose among.", epilog=_EXAMPLES,
                    usage="weft shortlist MODEL --data FILE [FILE ...] [options]")
    parser.add_argument("model", help="bundle folder or shipped model; the list is written into it")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE", help="pairs, as for weft train")
    parser.add_argument("--source-column", type=int, default=0, metavar="N", help="from 0 (default: 0)")
    parser.add_argument("--target-column", type=int, default=1, metavar="N", help="from 0 (default: 1)")
    parser.add_argument("--frequent", type=int, default=100, metavar="N",
                        help="most frequent target tokens, which are in every list (default: 100)")
    parser.add_argument("--per-token", type=int, default=100, metavar="N",
                        help="likeliest target tokens of each source token (default: 100)")
    arguments = parser.parse_args(argv)
    for name, value in (("--frequent", arguments.frequent), ("--per-token", arguments.per_token)):
        check_number(name, value, int, Range(1, 1 << 20))
    model = load(arguments.model)
    model.require("translate")
    pairs = read_pairs(arguments.data, arguments.source_column, arguments.target_column)
    require_examples(pairs, arguments.data)
    encoded = model.task.encode(model.tokenizer, pairs, model.config)
    sources, targets = ([row.tolist() for row in rows] for rows in (encoded.sources, encoded.targets))
    made, used = learn(sources, targets, model.config.vocabulary, frequent=arguments.frequent,
                       per_token=arguments.per_token)
    add_shortlist(model.bundle, made)
    sizes = sorted(len(made.of(source)) for source in sources[:10_000])
    print(f"{model.bundle.path}: learned of {used:,} of {len(pairs):,} pairs; a source chooses among "
          f"{sizes[len(sizes) // 2]:,} of {model.config.vocabulary:,} tokens (median), at most {sizes[-1]:,}")
    return 0
