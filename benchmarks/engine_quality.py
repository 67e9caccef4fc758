"""What narrower numbers cost: scores of the shipped models on their test sets, by backend and precision.

    python recipes/prepare_encoder.py DATA corpus      # test sets of ner and sentiment
    python benchmarks/engine_quality.py DATA corpus [--models fr-en ner] [--same]

Each cell is what `weft evaluate` prints, with the beams of the bundle, and how far it is from the engine's fp32. --same: how
many inputs get the very same answer (tokens, label, tags) instead; of a completer, how many positions the same likeliest token.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import weft
from weft.spec.training import TrainingOptions

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


def score(model: str, backend: str, precision: str, arguments: Sequence[str]) -> float:
    ways = ["--backend", backend, "--precision", precision]
    told = subprocess.run([sys.executable, "-m", "weft", "evaluate", model, *ways, "--data", *arguments],
                          capture_output=True, text=True, check=True).stdout
    found = FIRST_SCORE.search(told)
    assert found, told
    return float(found[1])


def answers(name: str, backend: str, precision: str, arguments: Sequence[str]) -> list[Any]:
    """One of each input; of a completer one of each position."""
    model = weft.load(name, backend=backend, precision=precision)
    columns = {"source_column": 1, "target_column": 0} if "--source-column" in arguments else {}
    examples = model.task.read([Path(arguments[0])], TrainingOptions(**columns))
    if "--last-tenth" in arguments:
        examples = model.task.hold_out(examples, 0)[1]
    texts = [given for given, _ in examples]
    if name in ("sentiment", "ner"):
        return [one.label for one in model.classify(texts)] if name == "sentiment" else \
            [[(one.label, one.start, one.end) for one in row] for row in model.tag(texts)]
    if name != "shakespeare":
        return [result.tokens for result in model.generate(texts)]
    window = model.config.window.target
    ids = [token for text in texts for token in model.tokenizer.encode(text)]
    rows = [ids[start : start + window] for start in range(0, len(ids), window)]
    return [int(token) for row in rows for token in model.logits([row])[0].argmax(1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--models", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--same", action="store_true")
    given = parser.parse_args()
    print(f"| model | score | {' | '.join(f'{backend} {precision}' for backend, precision in WAYS)} |")
    print(f"|---|---|{'---|' * len(WAYS)}")
    for model in given.models:
        name, arguments = TESTS[model]
        paths = [part.format(data=given.data, corpus=given.corpus) for part in arguments]
        if given.same:
            first, *rest = (answers(model, *way, paths) for way in WAYS)
            cells = [f"{len(first):,}", *(f"{sum(map(lambda a, b: a == b, first, other)):,}" for other in rest)]
        else:
            base, *others = (score(model, *way, paths) for way in WAYS)
            cells = [f"{base:g}", *(f"{value:g} ({value - base:+.2g})" for value in others)]
        print(f"| {model} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
