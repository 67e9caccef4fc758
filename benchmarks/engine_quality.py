"""What narrower numbers cost: scores of the shipped models on their test sets, by backend and precision.

    python recipes/prepare_encoder.py DATA corpus      # test sets of ner and sentiment
    python benchmarks/engine_quality.py DATA corpus [--models fr-en ner]

Each cell is what `weft evaluate` prints, greedy or with the beams of the bundle, and how far it is from the engine's fp32.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

WAYS = (("native", "fp32"), ("torch", "fp32"), ("native", "bf16"), ("native", "int8"))
SWAPPED = ["--source-column", "1", "--target-column", "0"]
TESTS: dict[str, tuple[str, list[str]]] = {
    "fr-en": ("BLEU of tatoeba.test", ["{data}/translation/tatoeba.en-fr.test.tsv.gz", *SWAPPED]),
    "en-fr": ("BLEU of tatoeba.test", ["{data}/translation/tatoeba.en-fr.test.tsv.gz"]),
    "shakespeare": ("bits a character of the last tenth", ["{data}/lm/tinyshakespeare.txt", "--last-tenth"]),
    "sentiment": ("accuracy of rt_polarity.test", ["{corpus}/sentiment.test.tsv", *SWAPPED]),
    "ner": ("entity F1 of WikiGold and BTC", ["{corpus}/ner.test.bio"]),
}
FIRST_SCORE = re.compile(r"^.+ (\d+\.\d+)   ")


def score(model: str, backend: str, precision: str, arguments: list[str]) -> float:
    ways = ["--backend", backend, "--precision", precision]
    told = subprocess.run([sys.executable, "-m", "weft", "evaluate", model, *ways, "--data", *arguments],
                          capture_output=True, text=True, check=True).stdout
    found = FIRST_SCORE.search(told)
    assert found, told
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--models", nargs="+", choices=TESTS, default=list(TESTS))
    given = parser.parse_args()
    print(f"| model | score | {' | '.join(f'{backend} {precision}' for backend, precision in WAYS)} |")
    print(f"|---|---|{'---|' * len(WAYS)}")
    for model in given.models:
        name, arguments = TESTS[model]
        paths = [part.format(data=given.data, corpus=given.corpus) for part in arguments]
        found = [score(model, *way, paths) for way in WAYS]
        cells = [f"{found[0]:g}", *(f"{value:g} ({value - found[0]:+.2g})" for value in found[1:])]
        print(f"| {model} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
