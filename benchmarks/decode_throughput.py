"""Torch decoding: Weft against Hugging Face generate, on the same random weights and the same work.

    python benchmarks/decode_throughput.py [--batch 32] [--beams 4] [--rounds 5] [--shape base]

Marian's base shape (6+6 layers, D=512, F=2048, 8 heads, vocabulary 32,000), 24 source tokens, exactly 32 new tokens
a source (end-of-sequence is banned). Contestants take turns, each in a process of its own: Weft keeps freed memory
(weft.nn.memory), and Hugging Face is measured with that help too. The table gives medians in output tokens a second
(those of the best hypothesis) and ratios to the best Hugging Face row.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from contest import Step, contest

from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.nn.memory import keep_large_blocks
from weft.spec.decoding import GenerationOptions

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.marian import EOS, PAD, random_marian, weft_model

WARM_UP = 2
SHAPES = {"base": (32000, 512, 6, 8, 2048), "small": (8000, 256, 3, 4, 1024)}


def marian(shape: str) -> torch.nn.Module:
    """The same random model in every process."""
    vocabulary, width, layers, heads, feed_forward = SHAPES[shape]
    return random_marian(0, vocabulary=vocabulary, width=width, layers=layers, heads=heads, feed_forward=feed_forward,
                         tied=True)


def sources(shape: str, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(4, SHAPES[shape][0], (batch, 24))


def hugging_face(dtype: torch.dtype, keep: bool, shape: str, batch: int, beams: int, tokens: int) -> Step:
    if keep:
        keep_large_blocks()
    model, ids = marian(shape).to(dtype), torch.from_numpy(sources(shape, batch))

    def run(_: object) -> None:
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), num_beams=beams,
                                  do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)
        assert out.shape[1] == tokens + 1
    return run


def weft(dtype: torch.dtype, shape: str, batch: int, beams: int, tokens: int) -> Step:
    runner, ids = TorchRunner(weft_model(marian(shape)).to(dtype)), sources(shape, batch).tolist()
    options = GenerationOptions(beams=beams, max_new_tokens=tokens, min_new_tokens=tokens, banned=(PAD, EOS),
                                length_formula="average", early_stopping="heuristic")

    def run(_: object) -> None:
        assert all(len(best[0].tokens) == tokens for best in generate_batch(runner, ids, options))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    options = parser.parse_args()
    work = options.shape, options.batch, options.beams, options.tokens
    makers = {
        "weft fp32": partial(weft, torch.float32, *work),
        "weft bf16": partial(weft, torch.bfloat16, *work),
        "hugging face fp32, memory kept": partial(hugging_face, torch.float32, True, *work),
        "hugging face bf16": partial(hugging_face, torch.bfloat16, False, *work),
        "hugging face bf16, memory kept": partial(hugging_face, torch.bfloat16, True, *work),
    }
    seconds = contest(makers, [None] * (WARM_UP + options.rounds), WARM_UP)
    produced = options.batch * options.tokens
    speeds = {name: produced / statistics.median(values) for name, values in seconds.items()}
    peer = max(speed for name, speed in speeds.items() if name.startswith("hugging"))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; {options.shape} shape, "
          f"batch {options.batch}, beam {options.beams}, 24 source and {options.tokens} new tokens")
    for name, speed in speeds.items():
        low, high = produced / max(seconds[name]), produced / min(seconds[name])
        print(f"{name:32s} {speed:8.0f} tokens/s  ({low:.0f} to {high:.0f})  {speed / peer:5.2f} x peer")


if __name__ == "__main__":
    main()
