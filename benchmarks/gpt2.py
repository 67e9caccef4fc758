"""Completers: Weft against Hugging Face GPT2LMHeadModel on the same weights, training and decoding.

    python benchmarks/gpt2.py train [--rounds 7]      6 layers, D=384, 6 heads, windows of 256, vocabulary 65, dropout 0.1
    python benchmarks/gpt2.py decode [--rounds 5]     GPT-2 small, batch 1, prompt of 128, 64 new tokens, greedy

The Hugging Face model is random, saved and imported, so both have the same numbers. Contestants take turns in one process,
in which freed memory is kept for all of them (weft.nn.memory). Medians and ratios to the best Hugging Face row.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

from weft.backends.torch import TorchRunner
from weft.bundle import open_bundle
from weft.convert import import_checkpoint
from weft.data import Ragged
from weft.decode import generate_batch
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Model
from weft.spec.decoding import GenerationOptions
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded
from weft.text import Tokenizer
from weft.train.batch import make_batch
from weft.train.flat import FlatParameters
from weft.train.optimiser import Adam
from weft.train.replicas import Replicas, replica_count

DROPOUT, ROWS, WINDOW, PROMPT, NEW = 0.1, 16, 256, 128, 64
SHAPES = {"train": {"vocab_size": 65, "n_positions": WINDOW, "n_embd": 384, "n_layer": 6, "n_head": 6},
          "decode": {}}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Step = Callable[[], None]


def models(shape: dict[str, int]) -> tuple[transformers.GPT2LMHeadModel, Model]:
    """The peer, and the same numbers in Weft."""
    config = transformers.GPT2Config(**shape, resid_pdrop=DROPOUT, embd_pdrop=DROPOUT, attn_pdrop=DROPOUT, bos_token_id=0,
                                     eos_token_id=0)
    theirs = transformers.GPT2LMHeadModel(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs.save_pretrained(folder / "hf")
        Tokenizer.train("character", ["abc"], 20).save(folder / "hf" / "tokenizer.json")
        bundle = open_bundle(import_checkpoint(folder / "hf", folder / "weft").path)
        ours = Model(bundle.config)
        with torch.no_grad():
            for key, parameter in ours.named_parameters():
                parameter.copy_(torch.from_numpy(bundle.tensors()[key].wide()))
    return theirs, ours


def train_steps(dtypes: list[str]) -> tuple[dict[str, Step], int]:
    """A step of each contestant, and its tokens."""
    rows = np.random.default_rng(0).integers(0, 65, (ROWS, WINDOW + 1))
    encoded = Encoded(Ragged([[]] * ROWS), Ragged(rows))
    steps: dict[str, Step] = {}
    for name in dtypes:
        steps[f"weft {name}"] = weft_training(DTYPES[name], encoded)
        steps[f"hugging face {name}"] = peer_training(DTYPES[name], torch.from_numpy(rows))
    return steps, ROWS * WINDOW


def weft_training(dtype: torch.dtype, encoded: Encoded) -> Step:
    model = models(SHAPES["train"])[1].set_dropout(DROPOUT, DROPOUT).train()
    flat, threads = FlatParameters(model, dtype), torch.get_num_threads()
    replicas, adam = Replicas(model, flat, threads, replica_count(model, threads)), Adam(flat, TrainingOptions())
    size = -(-ROWS // len(replicas.models))

    def step() -> None:
        cuts = [list(range(start, min(start + size, ROWS))) for start in range(0, ROWS, size)]
        parts = [make_batch(encoded, rows, model.config) for rows in cuts]
        replicas.backward(parts, 0.0)
        adam.step(1e-4, sum(part.tokens for part in parts))
    return step


def peer_training(dtype: torch.dtype, rows: torch.Tensor) -> Step:
    model = models(SHAPES["train"])[0].train()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=rows[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return step


def decode_steps(dtypes: list[str]) -> tuple[dict[str, Step], int]:
    steps: dict[str, Step] = {}
    prompt = np.random.default_rng(0).integers(1, 50_000, PROMPT)
    for name in dtypes:
        theirs, ours = models(SHAPES["decode"])
        steps[f"weft {name}"] = weft_decoding(TorchRunner(ours.to(DTYPES[name])), prompt.tolist())
        steps[f"hugging face {name}"] = peer_decoding(theirs.to(DTYPES[name]).eval(), torch.from_numpy(prompt)[None])
    return steps, NEW


def weft_decoding(runner: TorchRunner, prompt: list[int]) -> Step:
    options = GenerationOptions(max_new_tokens=NEW, min_new_tokens=NEW)

    def step() -> None:
        assert len(generate_batch(runner, None, options, prompts=[prompt])[0][0].tokens) == NEW
    return step


def peer_decoding(model: transformers.GPT2LMHeadModel, prompt: torch.Tensor) -> Step:
    def step() -> None:
        with torch.inference_mode():
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NEW,
                                 min_new_tokens=NEW, pad_token_id=0)
        assert out.shape[1] == PROMPT + NEW
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "decode"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="fp32 alone where bf16 is emulated")
    options = parser.parse_args()
    keep_large_blocks()
    steps, tokens = (train_steps if options.what == "train" else decode_steps)(options.dtypes)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:  # the first ones touch memory
                seconds[name].append(time.perf_counter() - start)
    speeds = {name: tokens / statistics.median(values) for name, values in seconds.items()}
    peer = max(speed for name, speed in speeds.items() if name.startswith("hugging"))
    print(f"{options.what}: {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers "
          f"{transformers.__version__}")
    for name, speed in speeds.items():
        low, high = tokens / max(seconds[name]), tokens / min(seconds[name])
        print(f"{name:18s} {speed:8.0f} tokens/s  ({low:.0f} to {high:.0f})  {speed / peer:5.2f} x peer")


if __name__ == "__main__":
    main()
