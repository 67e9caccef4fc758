"""Torch decoding: Weft against Hugging Face generate, on the same random weights and the same work.

    python benchmarks/decode_throughput.py [--batch 32] [--beams 4] [--rounds 5] [--shape base]

Marian's base shape (6+6 layers, D=512, F=2048, 8 heads, vocabulary 32,000), 24 source tokens, exactly 32 new tokens
a source (end-of-sequence is banned). Contestants take turns in one process; the table gives medians in output
tokens a second (those of the best hypothesis) and ratios to the best Hugging Face row.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.spec.decoding import GenerationOptions

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.marian import EOS, PAD, random_marian, weft_model

SHAPES = {"base": (32000, 512, 6, 8, 2048), "small": (8000, 256, 3, 4, 1024)}


def hugging_face(marian: torch.nn.Module, sources: torch.Tensor, beams: int, tokens: int) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            out = marian.generate(input_ids=sources, attention_mask=torch.ones_like(sources), num_beams=beams,
                                  do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)
        assert out.shape[1] == tokens + 1
    return run


def weft(runner: TorchRunner, sources: list[list[int]], beams: int, tokens: int) -> Callable[[], None]:
    options = GenerationOptions(beams=beams, max_new_tokens=tokens, min_new_tokens=tokens, banned=(PAD, EOS),
                                length_formula="average", early_stopping="heuristic")

    def run() -> None:
        assert all(len(best[0].tokens) == tokens for best in generate_batch(runner, sources, options))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    options = parser.parse_args()
    vocabulary, width, layers, heads, feed_forward = SHAPES[options.shape]
    marian = random_marian(0, vocabulary=vocabulary, width=width, layers=layers, heads=heads, feed_forward=feed_forward,
                           tied=True)
    sources = np.random.default_rng(0).integers(4, vocabulary, (options.batch, 24))
    work = options.beams, options.tokens
    half = random_marian(0, vocabulary=vocabulary, width=width, layers=layers, heads=heads, feed_forward=feed_forward,
                         tied=True).bfloat16()
    contestants = {
        "weft fp32": weft(TorchRunner(weft_model(marian)), sources.tolist(), *work),
        "weft bf16": weft(TorchRunner(weft_model(marian).bfloat16()), sources.tolist(), *work),
        "hugging face fp32": hugging_face(marian, torch.from_numpy(sources), *work),
        "hugging face bf16": hugging_face(half, torch.from_numpy(sources), *work),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    produced = options.batch * options.tokens
    speeds = {name: produced / statistics.median(values) for name, values in seconds.items()}
    peer = max(speed for name, speed in speeds.items() if name.startswith("hugging"))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; {options.shape} shape, "
          f"batch {options.batch}, beam {options.beams}, 24 source and {options.tokens} new tokens")
    for name, speed in speeds.items():
        low, high = produced / max(seconds[name]), produced / min(seconds[name])
        print(f"{name:20s} {speed:8.0f} tokens/s  ({low:.0f} to {high:.0f})  {speed / peer:5.2f} x peer")


if __name__ == "__main__":
    main()
