"""What a trace costs: a translation with a trace of everything against the plain run, in turns, one process.

    python benchmarks/trace_cost.py [--model fr-en] [--rounds 15]

A trace of everything: ten candidates a row, all layers' attention and hidden states. One sentence, 30 new tokens
(end-of-sequence is banned). The table gives medians in milliseconds, the median ratio of a traced run to the two plain runs
around it, and that of the second of those to the first: how much of a ratio is noise.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

import weft

SENTENCE = ("Le petit chat noir dort sur le grand canapé rouge du salon pendant que les enfants jouent dans le jardin avec "
            "leurs amis et leurs chiens.")
WAYS = {"beam 4": {"beams": 4}, "greedy": {"beams": 1}, "sampling, top-k, top-p": {"sample": True, "top_k": 50, "top_p": 0.9},
        "contrastive, top-k 4": {"penalty_alpha": 0.6, "top_k": 4}, "look-up": {"lookup": 8}}


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fr-en")
    parser.add_argument("--backend", default="auto", choices=("auto", "native", "torch"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=30)
    arguments = parser.parse_args()
    model = weft.load(arguments.model, backend=arguments.backend)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; {arguments.model}, "
          f"{arguments.tokens} new tokens, {arguments.rounds} rounds")
    for name, way in WAYS.items():
        banned = (*model.defaults.banned, model.config.special.eos)
        options = way | {"max_new_tokens": arguments.tokens, "banned": banned}
        plain, traced = lambda o=options: model.generate([SENTENCE], **o), lambda o=options: model.trace(SENTENCE, **o)
        assert traced().requests[0].results[0].tokens == plain()[0].tokens
        rows = [(timed(plain), timed(traced), timed(plain)) for _ in range(arguments.rounds)]
        first, watched, second = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(2 * row[1] / (row[0] + row[2]) for row in rows)
        noise = statistics.median(row[2] / row[0] for row in rows)
        print(f"{name:24s} plain {min(first, second):7.1f} ms  traced {watched:7.1f} ms  ratio {ratio:.2f}  "
              f"(plain to plain {noise:.2f})")


if __name__ == "__main__":
    main()
