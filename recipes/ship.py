"""Make a trained bundle ready to ship: half the size, with its scores on held-out test sets in the card.

    python recipes/ship.py runs/fr-en models/fr-en --direction fr-en --data DATA/translation
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import weft
from weft.bundle import save_bundle
from weft.card import bundle_card
from weft.data import read_pairs
from weft.spec.training import TrainingOptions

TESTS = {"tatoeba.test": "tatoeba.en-fr.test.tsv.gz", "flores-dev": "flores-dev.en-fr.tsv"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="bundle that weft train wrote, with its run/ folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--direction", choices=("fr-en", "en-fr"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the test sets")
    arguments = parser.parse_args()
    bundle = weft.load(arguments.run).bundle
    record = json.loads((arguments.run / "run" / "options.json").read_text("utf-8"))
    finished = json.loads((arguments.run / "run" / "finished.json").read_text("utf-8"))
    options = TrainingOptions(**{key: tuple(value) if isinstance(value, list) else value
                                 for key, value in record["resolved"].items()})

    def save(metrics: dict[str, object]) -> None:
        card = bundle_card(bundle.config, options, metrics, name=arguments.out.name,
                           seconds=60 * (options.minutes or 0), step=finished["step"], bytes_each=2)
        save_bundle(arguments.out, bundle.config, bundle.weights(), bundle.tokenizer_json, bundle.generation, card,
                    task=bundle.task, store="float16")

    save({})
    model = weft.load(arguments.out)  # scored as shipped, in half precision
    metrics: dict[str, object] = {}
    for name, file in TESTS.items():
        columns = (1, 0) if arguments.direction == "fr-en" else (0, 1)
        sources, references = zip(*read_pairs(arguments.data / file, *columns), strict=True)
        outputs = model.translate(list(sources))
        for score in model.task.scores(outputs, list(references), confidence=True):
            metrics[f"{name}, {score.name} ({score.signature})"] = f"{score.value:.1f} ± {score.interval or 0:.1f}"
            print(name, score, flush=True)
    save(metrics)


if __name__ == "__main__":
    main()
