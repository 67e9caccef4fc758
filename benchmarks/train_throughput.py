"""Training throughput: Weft against Hugging Face MarianMTModel, the same shape, batches and optimiser.

    python benchmarks/train_throughput.py [--data PAIRS.tsv[.gz]] [--rounds 7]

3+3 layers, D=256, F=1024, 4 heads, vocabulary 8,000, dropout 0.1, label smoothing 0.1, Adam, about 4,096 target
tokens a batch. Lengths come from the data file tokenised to 8,000 pieces, or else from the length distribution of
Multi30k en-de that is written below. All contestants run in turn in one process, round after round, on the same
batches; the table gives medians, their ratio to the best Hugging Face row, and the share of the machine's bf16
matrix peak measured in the same run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from weft import data
from weft.families import transformer
from weft.nn.memory import keep_large_blocks
from weft.nn.model import Model
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded
from weft.train.batch import Batch, make_batch
from weft.train.flat import FlatParameters
from weft.train.losses import head_cross_entropy
from weft.train.optimiser import Adam

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
        return Encoded(sources, tokenizer.encode_batch([target for _, target in chosen]))
    rank = rng.integers(0, 10, sentences)
    noise = rng.integers(-1, 2, (2, sentences))
    lengths = [np.array(row)[rank] + noise[i] for i, row in enumerate(QUANTILES)]
    make = [[rng.integers(4, VOCABULARY, n).tolist() for n in row] for row in lengths]
    return Encoded([[*row, 3] for row in make[0]], make[1])


def batches(encoded: Encoded, budget: int = 4096) -> list[Batch]:
    special = transformer.config(VOCABULARY, LAYERS, WIDTH, HEADS, FEED_FORWARD).special
    rows = data.batches(encoded.lengths, budget, seed=0, epoch=0)
    full = [make_batch(encoded, row.tolist(), special) for row in rows]
    return [batch for batch in full if batch.tokens > budget * 0.8]


def weft_step(dtype: torch.dtype) -> tuple[Callable[[Batch], None], int]:
    config = transformer.config(VOCABULARY, LAYERS, WIDTH, HEADS, FEED_FORWARD)
    model = Model(config).initialise(0).set_dropout(DROPOUT).train()
    flat = FlatParameters(model, dtype)
    adam = Adam(flat, TrainingOptions(clip=1.0))

    def step(batch: Batch) -> None:
        hidden = model(batch.source, batch.source_lengths, batch.inputs)
        head_cross_entropy(batch.flatten(hidden), model.head.weight, None, batch.targets, SMOOTHING).backward()
        flat.collect()
        adam.step(1e-4, batch.tokens)

    return step, flat.master.numel()


def hugging_face_step(autocast: bool) -> Callable[[Batch], None]:
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_ffn_dim=FEED_FORWARD,
        decoder_ffn_dim=FEED_FORWARD, encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, dropout=DROPOUT,
        attention_dropout=0.0, activation_dropout=0.0, activation_function="relu", scale_embedding=True,
        pad_token_id=0, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None)
    model = MarianMTModel(config).train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def step(batch: Batch) -> None:
        mask = torch.arange(batch.source.shape[1]) < batch.source_lengths[:, None]
        labels = torch.full(batch.inputs.shape, -100).flatten()
        labels[slice(None) if batch.valid is None else batch.valid] = batch.targets
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(input_ids=batch.source, attention_mask=mask.long(), decoder_input_ids=batch.inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, label_smoothing=SMOOTHING)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    return step


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
    work = batches(examples(options.data))
    bf16, size = weft_step(torch.bfloat16)
    steps = {"weft bf16": bf16, "weft fp32": weft_step(torch.float32)[0],
             "hugging face fp32": hugging_face_step(False), "hugging face bf16 autocast": hugging_face_step(True)}
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    chosen = [[work[(r * options.batches + i) % len(work)] for i in range(options.batches)]
              for r in range(WARM_UP + options.rounds)]
    for number, group in enumerate(chosen):
        for name, step in steps.items():
            start = time.perf_counter()
            for batch in group:
                step(batch)
            if number >= WARM_UP:
                speeds[name].append(sum(batch.tokens for batch in group) / (time.perf_counter() - start))
    report(speeds, work, size)


def report(speeds: dict[str, list[float]], work: list[Batch], parameters: int) -> None:
    median = {name: statistics.median(values) for name, values in speeds.items()}
    peer = max(value for name, value in median.items() if name.startswith("hugging"))
    peak = matrix_peak(torch.bfloat16)
    tokens = sum(batch.tokens for batch in work)
    source = sum(int(batch.source_lengths.sum()) for batch in work)
    encoder = LAYERS * (4 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD)
    decoder = LAYERS * (6 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD)
    per_token = 6 * (decoder + VOCABULARY * WIDTH + (encoder + LAYERS * 2 * WIDTH**2) * source / tokens)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"{parameters:,} parameters; {tokens / len(work):.0f} target and {source / len(work):.0f} source tokens a batch")
    print(f"bf16 matrix peak measured {peak / 1e12:.2f} TFLOP/s; {per_token / 1e6:.1f} MFLOP of matrix products a target token")
    for name, value in median.items():
        low, high = min(speeds[name]), max(speeds[name])
        print(f"{name:28s} {value:8.0f} target tokens/s  ({low:.0f} to {high:.0f})  {value / peer:5.2f} x peer   "
              f"{value * per_token / peak:5.1%} of peak")


if __name__ == "__main__":
    keep_large_blocks()
    main()
