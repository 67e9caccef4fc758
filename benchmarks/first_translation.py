"""Time from command to first translation, and memory: the whole process, as a user starts it.

    python benchmarks/first_translation.py [--model fr-en] [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time


def run(command: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and peak resident MiB of one run."""
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fr-en")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    text = "J'aime l'apprentissage automatique"
    cases = {"weft --help": ["--help"], "weft translate": ["translate", "--model", options.model, text]}
    print(f"{platform.machine()}, Python {platform.python_version()}; medians of {options.runs} runs after one")
    for name, arguments in cases.items():
        found = [run([sys.executable, "-m", "weft", *arguments]) for _ in range(options.runs + 1)][1:]
        seconds, memory = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:16s} {seconds:6.2f} s {memory:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
