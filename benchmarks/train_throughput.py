"""Training throughput: Weft against Hugging Face MarianMTModel, the same shape, batches and optimiser.

    python benchmarks/train_throughput.py [--data PAIRS.tsv[.gz]] [--rounds 7]

3+3 layers, D=256, F=1024, 4 heads, vocabulary 8,000, dropout 0.1, label smoothing 0.1, Adam, about 4,096 target
tokens a batch. Lengths come from the data file tokenised to 8,000 pieces, or else from the length distribution of
Multi30k en-de that is written below. Contestants take turns, round after round, on the same batches, each in a process
of its own: Weft keeps freed memory (weft.nn.memory), which would help Hugging Face's rows too, so those are
measured with and without it. The table gives medians, their ratio to Hugging Face as it comes and with that help, and
the share of the machine's bf16 matrix peak measured in the same run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from contest import contest

from weft import data
from weft.families import transformer
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Model
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded
from weft.train.batch import make_batch
from weft.train.flat import FlatParameters
from weft.train.optimiser import Adam
from weft.train.replicas import Replicas, replica_count

Step = Callable[[list[int]], None]

VOCABULARY, LAYERS, WIDTH, HEADS, FEED_FORWARD, DROPOUT, SMOOTHING = 8000, 3, 256, 4, 1024, 0.1, 0.1
WARM_UP = 5
"""Rounds that are not counted: the memory of batches of all shapes is first touched in them, which costs a training
run nothing after its first seconds."""
# Quantiles (5%, 15%, ... 95%) of Multi30k en-de train in BPE tokens with end-of-sequence: source, target.
QUANTILES = ((9, 11, 12, 13, 14, 15, 16, 18, 20, 25), (9, 10, 11, 12, 13, 15, 16, 18, 20, 26))


def examples(path: str | None, sentences: int = 6000) -> Encoded:
    rng = np.random.default_rng(0)
    if path:
        from weft.text import Tokenizer

        pairs = data.read_pairs(path)
        tokenizer = Tokenizer.train("metaspace_bpe", (text for pair in pairs for text in pair), VOCABULARY)
        chosen = [pairs[i] for i in rng.choice(len(pairs), min(sentences, len(pairs)), replace=False)]
        sources = [[*ids, 3] for ids in tokenizer.encode_batch([source for source, _ in chosen])]
        return Encoded(data.Ragged(sources), data.Ragged(tokenizer.encode_batch([target for _, target in chosen])))
    rank = rng.integers(0, 10, sentences)
    noise = rng.integers(-1, 2, (2, sentences))
    lengths = [np.array(row)[rank] + noise[i] for i, row in enumerate(QUANTILES)]
    make = [[rng.integers(4, VOCABULARY, n).tolist() for n in row] for row in lengths]
    return Encoded(data.Ragged([*row, 3] for row in make[0]), data.Ragged(make[1]))


def batches(encoded: Encoded, budget: int = 4096) -> list[list[int]]:
    """Full batches, as the numbers of their examples."""
    rows = data.batches(encoded.lengths, budget, seed=0, epoch=0)
    return [row.tolist() for row in rows if int(encoded.lengths[row][:, 1].sum()) > budget * 0.8]


def weft_step(dtype: torch.dtype, encoded: Encoded) -> Step:
    config = transformer.config(VOCABULARY, LAYERS, WIDTH, HEADS, FEED_FORWARD)
    model = Model(config).initialise(0).set_dropout(DROPOUT).train()
    flat = FlatParameters(model, dtype)
    threads = torch.get_num_threads()
    replicas = Replicas(model, flat, threads, replica_count(model, threads))
    adam = Adam(flat, TrainingOptions(clip=1.0))

    def step(rows: list[int]) -> None:
        size = -(-len(rows) // len(replicas.models))
        parts = [make_batch(encoded, rows[i : i + size], config) for i in range(0, len(rows), size)]
        replicas.backward(parts, SMOOTHING)
        adam.step(1e-4, sum(part.tokens for part in parts))

    return step


def hugging_face_step(dtype: torch.dtype, encoded: Encoded) -> Step:
    from transformers import MarianConfig, MarianMTModel

    shape = transformer.config(VOCABULARY, LAYERS, WIDTH, HEADS, FEED_FORWARD)
    config = MarianConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_ffn_dim=FEED_FORWARD,
        decoder_ffn_dim=FEED_FORWARD, encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, dropout=DROPOUT,
        attention_dropout=0.0, activation_dropout=0.0, activation_function="relu", scale_embedding=True,
        pad_token_id=0, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None)
    model = MarianMTModel(config).train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def step(rows: list[int]) -> None:
        batch = make_batch(encoded, rows, shape)
        mask = torch.arange(batch.source.shape[1]) < batch.source_lengths[:, None]
        labels = torch.full(batch.inputs.shape, -100).flatten()
        labels[(torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]).flatten()] = batch.targets
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=batch.source, attention_mask=mask.long(), decoder_input_ids=batch.inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, label_smoothing=SMOOTHING)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    return step


# Name: what makes its step, the dtype it multiplies matrices in, whether freed memory is kept.
CONTESTANTS = {
    "weft bf16": (weft_step, torch.bfloat16, True),
    "weft fp32": (weft_step, torch.float32, True),
    "hugging face fp32": (hugging_face_step, torch.float32, False),
    "hugging face bf16 autocast": (hugging_face_step, torch.bfloat16, False),
    "hugging face bf16, memory kept": (hugging_face_step, torch.bfloat16, True),
}


def prepare(name: str, encoded: Encoded) -> Callable[[list[list[int]]], None]:
    """What a contestant does with a round's batches."""
    make, dtype, keep = CONTESTANTS[name]
    if keep:
        keep_large_blocks()
    step = make(dtype, encoded)

    def round_(group: list[list[int]]) -> None:
        for rows in group:
            step(rows)
    return round_


def matrix_peak(dtype: torch.dtype) -> float:
    """Operations a second of a large product, the best of several."""
    a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    best = float("inf")
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="sentence pairs whose lengths are used")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=3, help="batches a contestant does each round")
    options = parser.parse_args()
    encoded = examples(options.data)
    work = batches(encoded)
    peak = matrix_peak(torch.bfloat16)  # before the others are there
    groups = [[work[(number * options.batches + i) % len(work)] for i in range(options.batches)]
              for number in range(WARM_UP + options.rounds)]
    seconds = contest({name: partial(prepare, name, encoded) for name in CONTESTANTS}, groups, WARM_UP)
    tokens = [sum(int(encoded.lengths[rows][:, 1].sum()) for rows in group) for group in groups[WARM_UP:]]
    speeds = {name: [count / took for count, took in zip(tokens, values, strict=True)] for name, values in seconds.items()}
    report(speeds, encoded, work, peak)


def report(speeds: dict[str, list[float]], encoded: Encoded, work: list[list[int]], peak: float) -> None:
    median = {name: statistics.median(values) for name, values in speeds.items()}
    plain = max(median["hugging face fp32"], median["hugging face bf16 autocast"])
    helped = max(plain, median["hugging face bf16, memory kept"])
    source, target = np.concatenate([encoded.lengths[rows] for rows in work]).sum(0).tolist()
    encoder = LAYERS * (4 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD)
    decoder = LAYERS * (6 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD)
    per_token = 6 * (decoder + VOCABULARY * WIDTH + (encoder + LAYERS * 2 * WIDTH**2) * source / target)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"{target / len(work):.0f} target and {source / len(work):.0f} source tokens a batch")
    print(f"bf16 matrix peak measured {peak / 1e12:.2f} TFLOP/s; {per_token / 1e6:.1f} MFLOP of matrix products a target token")
    for name, value in median.items():
        low, high = min(speeds[name]), max(speeds[name])
        print(f"{name:32s}{value:7.0f} target tokens/s  ({low:.0f} to {high:.0f})  {value / plain:5.2f} x peer  "
              f"{value / helped:5.2f} x peer with memory kept  {value * per_token / peak:5.1%} of peak")


if __name__ == "__main__":
    main()
