"""What a lexical shortlist costs and saves: BLEU and speed of a translator with and without it, in turns.

    weft shortlist BUNDLE --data train.tsv.gz --source-column 1 --target-column 0
    python benchmarks/shortlist.py BUNDLE test.tsv.gz [--source-column 1 --target-column 0] [--lines 600] [--rounds 7]

Speeds are of decoding to the model's own ends, the first lines of the file, in batches of 1 and 32, greedy and with the
bundle's beams; medians of the seconds of a round and the median of the rounds' ratios, as both take turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time

import weft
from weft.data import read_pairs
from weft.metrics import bleu

WAYS = (False, True)


def seconds(model: weft.Model, texts: list[str], **options: object) -> float:
    start = time.perf_counter()
    model.translate(texts, **options)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("data")
    parser.add_argument("--source-column", type=int, default=1)
    parser.add_argument("--target-column", type=int, default=0)
    parser.add_argument("--lines", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", nargs="+", default=["int8", "fp32"])
    options = parser.parse_args()
    pairs = read_pairs(options.data, options.source_column, options.target_column)[: options.lines]
    sources, references = [source for source, _ in pairs], [target for _, target in pairs]
    for precision in options.precision:
        model = weft.load(options.bundle, precision=precision)
        found = {way: model.translate(sources, shortlist=way) for way in WAYS}
        same = sum(a == b for a, b in zip(*found.values(), strict=True))
        print(f"{precision}: without {bleu(found[False], references)}; with {bleu(found[True], references)}; "
              f"{same} of {len(pairs)} translations the same")
        for batch in (1, 32):
            for beams in dict.fromkeys((1, model.defaults.beams)):
                took: dict[bool, list[float]] = {way: [] for way in WAYS}
                for number in range(options.rounds + 2):
                    texts = sources[number * batch : (number + 1) * batch]
                    for way in WAYS:
                        spent = seconds(model, texts, shortlist=way, beams=beams, n_best=1)
                        if number >= 2:
                            took[way].append(spent)
                ratio = statistics.median(a / b for a, b in zip(took[False], took[True], strict=True))
                print(f"  batch {batch}, {beams} beams: {1000 * statistics.median(took[False]):.2f} ms without, "
                      f"{1000 * statistics.median(took[True]):.2f} ms with; {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
