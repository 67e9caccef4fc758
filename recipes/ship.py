"""Make a trained bundle ready to ship: half the size, with its scores on held-out test sets in the card.

    python recipes/ship.py runs/fr-en models/fr-en --data DATA/translation
    python recipes/ship.py runs/sentiment models/sentiment --data corpus    (of recipes/prepare_encoder.py)
    python recipes/ship.py runs/ner models/ner --data corpus
    python recipes/ship.py runs/shakespeare models/shakespeare --data DATA/lm

The name of the model's folder says what it is tested on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import weft
from weft.bundle import save_bundle
from weft.card import bundle_card
from weft.metrics import Score
from weft.spec.training import TrainingOptions

TATOEBA, FLORES = "tatoeba.en-fr.test.tsv.gz", "flores-dev.en-fr.tsv"
TESTS: dict[str, dict[str, tuple[str, int, int]]] = {
    "fr-en": {"tatoeba.test": (TATOEBA, 1, 0), "flores-dev": (FLORES, 1, 0)},
    "en-fr": {"tatoeba.test": (TATOEBA, 0, 1), "flores-dev": (FLORES, 0, 1)},
    "sentiment": {"rt_polarity.test": ("sentiment.test.tsv", 1, 0)},
    "ner": {"WikiGold and BTC, every tenth sentence": ("ner.test.bio", 0, 1)},
    "shakespeare": {"last tenth of tinyshakespeare": ("tinyshakespeare.txt", 0, 1)},
}
"""Model -> name of a test set -> file, columns of source and target."""


def scores(model: weft.Model, path: Path, source: int, target: int) -> list[Score]:
    task = model.task
    examples = task.read([path], TrainingOptions(source_column=source, target_column=target))
    if task.windows:
        examples = task.hold_out(examples, 0)[1]
    if model.config.kind != "encoder-decoder":
        return task.evaluate(model.runner, model.tokenizer, model.config, examples, confidence=True)
    sources, references = zip(*examples, strict=True)
    return task.scores(model.translate(list(sources)), list(references), confidence=True)


def seconds(run: Path) -> float:
    """How long the run took."""
    lines = (run / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    return max((json.loads(line).get("seconds", 0.0) for line in lines), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="bundle that weft train wrote, with its run/ folder")
    parser.add_argument("out", type=Path, help="models/NAME, NAME one of " + ", ".join(TESTS))
    parser.add_argument("--data", type=Path, required=True, help="folder of the test sets")
    arguments = parser.parse_args()
    if arguments.out.name not in TESTS:
        parser.error(f"{arguments.out.name} is none of {', '.join(TESTS)}")
    bundle = weft.load(arguments.run).bundle
    record = json.loads((arguments.run / "run" / "options.json").read_text("utf-8"))
    finished = json.loads((arguments.run / "run" / "finished.json").read_text("utf-8"))
    options = TrainingOptions(**{key: tuple(value) if isinstance(value, list) else value
                                 for key, value in record["resolved"].items()})

    def save(metrics: dict[str, object]) -> None:
        card = bundle_card(bundle.config, options, metrics, name=arguments.out.name, seconds=seconds(arguments.run),
                           step=finished["step"], bytes_each=2)
        save_bundle(arguments.out, bundle.config, bundle.weights(), bundle.tokenizer_json, bundle.generation, card,
                    task=bundle.task, store="float16")

    save({})
    model = weft.load(arguments.out)  # scored as shipped, in half precision
    metrics: dict[str, object] = {}
    for name, (file, *columns) in TESTS[arguments.out.name].items():
        for score in scores(model, arguments.data / file, *columns):
            spread = "" if score.interval is None else f" ± {score.interval:.1f}"
            metrics[f"{name}, {score.name} ({score.signature})"] = f"{score.value:.{2 if score.value < 10 else 1}f}{spread}"
            print(name, score, flush=True)
    save(metrics)


if __name__ == "__main__":
    main()
