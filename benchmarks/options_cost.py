"""What each option of decoding costs on the shipped translator: batches of 32, beam 4 and sampling.

    python benchmarks/options_cost.py [--rounds 9]

Every option takes turns with the plain run on the same 32 sentences; the cost is the median, over rounds, of its time over
the plain run's beside it. Lengths are forced alike (16 new tokens), so that an option pays for its work and not for longer
answers.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import Any

import weft
from weft.decode import generate_batch
from weft.spec.decoding import GenerationOptions

BATCH, NEW = 32, 16
WHO, WHAT, WHEN = (
    ("Mon frère", "La vieille dame", "Le directeur de l'école", "Personne"),
    ("a perdu ses clés dans le train", "lit le journal au bord de la rivière", "ne veut pas acheter cette voiture",
     "cherche un nouvel appartement près de la gare"),
    ("depuis hier soir.", "chaque matin avant de partir au travail."))
SENTENCES = [f"{who} {what} {when}" for who in WHO for what in WHAT for when in WHEN]
BOTH: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.2}, "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.2},
    "presence_penalty": {"presence_penalty": 0.5}, "frequency_penalty": {"frequency_penalty": 0.5},
    "no_repeat_ngram": {"no_repeat_ngram": 3}, "encoder_no_repeat_ngram": {"encoder_no_repeat_ngram": 3},
    "logit_bias": {"logit_bias": ((17, 1.0), (99, -1.0))}, "banned_words": {"banned_words": ((17, 23), (99,))},
    "prefix": {"prefix": (17, 23)}, "logprobs": {"logprobs": 5}, "stop": {"stop": ("zzzz",)},
}
WAYS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "beam 4": ({"beams": 4}, BOTH | {
        "coverage_penalty": {"coverage_penalty": 0.2}, "n_best": {"n_best": 4}, "beam_scores raw": {"beam_scores": "raw"},
        "diverse": {"beam_groups": 2, "diversity": 0.5}, "forced_words": {"forced_words": ((99,),)}}),
    "sampling": ({"sample": True}, BOTH | {
        "temperature": {"temperature": 0.8}, "top_k": {"top_k": 50}, "top_p": {"top_p": 0.9}, "min_p": {"min_p": 0.05},
        "typical_p": {"typical_p": 0.9}, "epsilon_cutoff": {"epsilon_cutoff": 1e-3}, "eta_cutoff": {"eta_cutoff": 1e-3},
        "top_n_sigma": {"top_n_sigma": 2.0}}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="auto", choices=("auto", "native", "torch"))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    model = weft.load("fr-en", backend=arguments.backend)
    sources = model.task.sources(model.tokenizer, SENTENCES, model.config.special)

    def seconds(options: dict[str, Any]) -> float:
        chosen = GenerationOptions(max_new_tokens=NEW, min_new_tokens=NEW, banned=model.defaults.banned, **options)
        start = time.perf_counter()
        generate_batch(model.runner, sources, chosen, stops=model._stops(chosen))
        return time.perf_counter() - start

    for way, (plain, changes) in WAYS.items():
        ratios: dict[str, list[float]] = {name: [] for name in ("the plain run again", *changes)}
        times = []
        for number in range(arguments.rounds + 1):
            for name in ratios:
                before = seconds(plain)
                gc.collect()
                ratio = seconds(plain | changes.get(name, {})) / before
                if number:
                    ratios[name].append(ratio)
                    times.append(before)
        print(f"{way}: {BATCH * NEW / statistics.median(times):.0f} tokens/s")
        for name, values in ratios.items():
            print(f"  {name:28s} {statistics.median(values):5.2f} x the plain time  ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
