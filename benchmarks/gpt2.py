"""Completers: Weft against Hugging Face GPT2LMHeadModel on the same weights, training and decoding.

    python benchmarks/gpt2.py train [--rounds 7]      6 layers, D=384, 6 heads, windows of 256, vocabulary 65, dropout 0.1
    python benchmarks/gpt2.py decode [--rounds 5]     GPT-2 small, batch 1, prompt of 128, 64 new tokens, greedy

The Hugging Face model is random, saved and imported, so both have the same numbers. Contestants take turns, each in a process
of its own. Weft keeps freed memory (weft.nn.memory), so Hugging Face is measured as it comes and with that setting. Medians,
and their ratios to the best row of each.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from contest import Step, contest

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
KEPT = ", memory kept"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WARM_UP = 3


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


def make(what: str, side: str, dtype: str, keeps: bool) -> Step:
    """A contestant's step, in its own process, which may keep freed memory."""
    if keeps:
        keep_large_blocks()
    torch.manual_seed(0)
    return {"train": {"weft": weft_training, "hugging face": peer_training},
            "decode": {"weft": weft_decoding, "hugging face": peer_decoding}}[what][side](DTYPES[dtype])


def windows() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65, (ROWS, WINDOW + 1))


def prompt() -> list[int]:
    return np.random.default_rng(0).integers(1, 50_000, PROMPT).tolist()


def weft_training(dtype: torch.dtype) -> Step:
    encoded = Encoded(Ragged([[]] * ROWS), Ragged(windows()))
    model = models(SHAPES["train"])[1].set_dropout(DROPOUT, DROPOUT).train()
    flat, threads = FlatParameters(model, dtype), torch.get_num_threads()
    replicas, adam = Replicas(model, flat, threads, replica_count(model, threads)), Adam(flat, TrainingOptions())
    size = -(-ROWS // len(replicas.models))

    def step(_: object) -> None:
        cuts = [list(range(start, min(start + size, ROWS))) for start in range(0, ROWS, size)]
        parts = [make_batch(encoded, rows, model.config) for rows in cuts]
        replicas.backward(parts, 0.0)
        adam.step(1e-4, sum(part.tokens for part in parts))
    return step


def peer_training(dtype: torch.dtype) -> Step:
    rows = torch.from_numpy(windows())
    model = models(SHAPES["train"])[0].train()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True)

    def step(_: object) -> None:
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=rows[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return step


def weft_decoding(dtype: torch.dtype) -> Step:
    runner, ids = TorchRunner(models(SHAPES["decode"])[1].to(dtype)), prompt()
    options = GenerationOptions(max_new_tokens=NEW, min_new_tokens=NEW)

    def step(_: object) -> None:
        assert len(generate_batch(runner, None, options, prompts=[ids])[0][0].tokens) == NEW
    return step


def peer_decoding(dtype: torch.dtype) -> Step:
    model, ids = models(SHAPES["decode"])[0].to(dtype).eval(), torch.tensor([prompt()])

    def step(_: object) -> None:
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW,
                                 min_new_tokens=NEW, pad_token_id=0)
        assert out.shape[1] == PROMPT + NEW
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "decode"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="fp32 alone where bf16 is emulated")
    options = parser.parse_args()
    makers = {f"{side} {dtype}{kept}": partial(make, options.what, side, dtype, side == "weft" or bool(kept))
              for dtype in options.dtypes for side, kept in (("weft", ""), ("hugging face", ""), ("hugging face", KEPT))}
    seconds = contest(makers, [None] * (WARM_UP + options.rounds), WARM_UP)
    tokens = ROWS * WINDOW if options.what == "train" else NEW
    speeds = {name: [tokens / taken for taken in times] for name, times in seconds.items()}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    theirs = {name: value for name, value in medians.items() if name.startswith("hugging")}
    plain, kept = (max(value for name, value in theirs.items() if name.endswith(KEPT) == keeps) for keeps in (False, True))
    print(f"{options.what}: {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")
    for name, values in speeds.items():
        print(f"{name:32s} {medians[name]:6.0f} tokens/s  ({min(values):.0f} to {max(values):.0f})  "
              f"{medians[name] / plain:5.2f} x peer  {medians[name] / kept:5.2f} x peer with memory kept")


if __name__ == "__main__":
    main()
