"""Prompt look-up against plain decoding of the same tokens, one request at a time.

    python benchmarks/lookup.py [--rounds 8] [--lookup 10]

repeats: a random completer of 6 layers (D=384, vocabulary 8192) that goes round in circles, greedy; the shipped Shakespeare
model on a prompt that repeats itself, greedy. does not: that model and the shipped translator at temperature 1, whose text has
runs that come again and go on otherwise. Both ways take turns, on one thread; medians of CPU time, which neighbours on the
machine disturb less, and the ratio of speeds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import weft
from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.families import scratch
from weft.nn.model import Model
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Runner

NEW = 160
PLAY = "ROMEO:\nI do remember well where I should be.\n\n" * 2
SENTENCE = "Le train de nuit pour Paris part demain matin à six heures, et nous avons encore beaucoup de choses à préparer."


def random_completer(_: str) -> tuple[Runner, dict]:
    config = scratch.gpt2(8192, layers=6, width=384, heads=6, feed_forward=1536, window=512)
    prompt = np.random.default_rng(0).integers(4, 8192, 64).tolist()
    return TorchRunner(Model(config).initialise(0)), {"sources": None, "prompts": [prompt]}


def shakespeare(backend: str) -> tuple[Runner, dict]:
    model = weft.load("shakespeare", backend=backend)
    return model.runner, {"sources": None, "prompts": [[model.config.special.start, *model.tokenizer.encode(PLAY)[:31]]]}


def translator(backend: str) -> tuple[Runner, dict]:
    model = weft.load("fr-en", backend=backend)
    return model.runner, {"sources": [[*model.tokenizer.encode(SENTENCE), model.config.special.eos]]}


CASES: dict[str, tuple[Callable[[str], tuple[Runner, dict]], dict]] = {
    "repeats: random completer": (random_completer, {"banned": (3,)}),
    "repeats: shakespeare": (shakespeare, {}),
    "does not: shakespeare, sampled": (shakespeare, {"sample": True, "seed": 1}),
    "does not: translator, sampled": (translator, {"sample": True, "seed": 3, "max_new_tokens": 60}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="auto", choices=("auto", "native", "torch"))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--lookup", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # the engine's, whose idle threads spin, and processor time is what is taken
    print(f"{platform.machine()}, torch {torch.__version__}")
    for name, (make, choices) in CASES.items():
        runner, inputs = make(options.backend)
        ways = {lookup: GenerationOptions(**({"max_new_tokens": NEW} | choices), lookup=lookup)
                for lookup in (0, options.lookup)}
        seconds: dict[int, list[float]] = {lookup: [] for lookup in ways}
        tokens = {}
        for number in range(options.rounds + 2):
            for lookup, way in sorted(ways.items(), reverse=number % 2 > 0):
                start = time.process_time()
                tokens[lookup] = generate_batch(runner, **inputs, options=way)[0][0].tokens
                if number >= 2:
                    seconds[lookup].append(time.process_time() - start)
        assert tokens[0] == tokens[options.lookup]
        speeds = [len(tokens[0]) / statistics.median(values) for values in seconds.values()]
        each = statistics.median(plain / guessed for plain, guessed in zip(*seconds.values(), strict=True))
        print(f"{name:32s} {len(tokens[0]):4d} tokens  plain {speeds[0]:6.0f} tokens/s  look-up {speeds[1]:6.0f} tokens/s  "
              f"{speeds[1] / speeds[0]:5.2f} x  ({each:.2f} x round by round)")


if __name__ == "__main__":
    main()
