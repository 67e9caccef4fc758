"""The one dial, `--size`: from the amount of data to a model, a recipe and a batch that fits the memory."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import torch

from weft.errors import UnknownNameError, UsageError
from weft.families import rnn, scratch
from weft.spec import config as c
from weft.spec.parameters import count
from weft.spec.training import TrainingOptions
from weft.tasks import find_task

# Found by trial on Multi30k (29,000 pairs) and Tatoeba (160,000); base and big are the paper's own. See docs/LOG.md.
RECIPES: dict[str, dict[str, Any]] = {
    "tiny": {"placement": "pre", "dropout": 0.3, "learning_rate": 5e-3, "warmup": 1000, "batch_tokens": 4096,
             "vocabulary": 6_000, "epochs": 60.0, "schedule": "linear"},
    "small": {"dropout": 0.1, "learning_rate": 1.3e-3, "warmup": 2000, "batch_tokens": 4096, "vocabulary": 8_000,
              "epochs": 15.0, "schedule": "linear"},
    "base": {"dropout": 0.1, "learning_rate": 7e-4, "warmup": 4000, "batch_tokens": 25_000, "vocabulary": 37_000,
             "epochs": 8.0, "schedule": "inverse_sqrt"},
    "big": {"dropout": 0.3, "learning_rate": 5e-4, "warmup": 4000, "batch_tokens": 25_000, "vocabulary": 37_000,
            "epochs": 8.0, "schedule": "inverse_sqrt"},
}
RNN = {"tiny": {"layers": 1, "width": 256, "size": 256}, "small": {"layers": 1, "width": 256, "size": 512},
       "base": {"layers": 2, "width": 512, "size": 512}, "big": {"layers": 4, "width": 1024, "size": 1024}}


def choose_size(examples: int) -> str:
    """`auto`: the size that a number of sentences can feed; bigger ones overfit or starve."""
    return "tiny" if examples < 60_000 else "small" if examples < 1_000_000 else "base"


def resolve(options: TrainingOptions, examples: int, tokens: int) -> TrainingOptions:
    """Fill every open choice from the amount of data. `tokens`: of all targets together, about."""
    size, task = _size(options, examples), find_task(options.task)
    averaging = {"ema": 0.0 if options.average > 1 else 0.998}
    recipe = RECIPES[size] | {"label_smoothing": 0.0, "size": size} | averaging | dict(task.recipe)
    recipe["family"] = _family(options)
    recipe["vocabulary"] = vocabulary(options, examples)
    recipe["batch_tokens"] = min(recipe["batch_tokens"], max(256, tokens // 40))
    if options.family == "rnn":
        recipe |= {"learning_rate": 1e-3, "warmup": 400}
    batch = options.batch_tokens or recipe["batch_tokens"]
    recipe["learning_rate"] *= min(1.0, batch / RECIPES[size]["batch_tokens"]) ** 0.5  # smaller batches are noisier
    recipe["epochs"] = max(recipe["epochs"], float(round(task.least_updates * batch / max(tokens, 1))))
    if options.minutes is not None or options.steps is not None:
        recipe["epochs"] = None
        if options.schedule is None and options.minutes is not None:
            recipe["schedule"] = "linear"
    chosen = {key: value for key, value in recipe.items() if getattr(options, key) in (None, "auto")}
    return replace(options, **chosen)


def vocabulary(options: TrainingOptions, examples: int) -> int:
    """Most tokens of the tokenizer, which is trained before anything is counted in tokens."""
    return options.vocabulary or min(RECIPES[_size(options, examples)]["vocabulary"], max(1000, examples // 2))


def _size(options: TrainingOptions, examples: int) -> str:
    size = choose_size(examples) if options.size == "auto" else options.size
    if size not in RECIPES:
        raise UnknownNameError("size", size, [*RECIPES, "auto"])
    return size


def _family(options: TrainingOptions) -> str:
    """The family asked for, or the first that does the task. Raises UsageError if it does not."""
    kind = find_task(options.task).kind
    able = [name for name, (does, _) in scratch.BUILDERS.items() if does == kind] + ["rnn"] * (kind == "encoder-decoder")
    if options.family != "auto" and options.family not in able:
        raise UsageError(f"--family {options.family} does not {options.task}; use {', '.join(able)}")
    return able[0] if options.family == "auto" else options.family


def model_config(options: TrainingOptions, vocabulary: int, head: c.Head | None = None) -> c.ModelConfig:
    """The architecture of resolved options; head: what the task needs, if not what the family has."""
    if options.family == "rnn":
        shape = dict(RNN[options.size])
        given = {"layers": options.layers, "width": options.width, "size": options.feed_forward}
        shape |= {key: value for key, value in given.items() if value is not None}
        return rnn.config(vocabulary, **shape, cell=options.cell, bridge=options.bridge,
                          bidirectional=options.bidirectional)
    kind, build = scratch.BUILDERS[options.family]
    sizes = dict(scratch.SIZES[kind][options.size])
    given = {name: getattr(options, name) for name in ("layers", "width", "heads", "feed_forward")}
    sizes |= {key: value for key, value in given.items() if value is not None}
    if kind == "encoder-decoder":
        return build(vocabulary, **sizes, decoder_layers=options.decoder_layers, placement=options.placement or "post")
    window = options.context if find_task(options.task).windows else max(options.context, options.max_length)
    return with_head(build(vocabulary, **sizes, window=window), head)


def with_head(config: c.ModelConfig, head: c.Head | None) -> c.ModelConfig:
    """The config with another head; one that is no language model's shares no embedding.

    Norms before the sub-layers: the map in front of the output layer stays (ModernBERT). After them: a text is its first
    state, through a map of its own (BERT's pooler).
    """
    if head is None or isinstance(head, c.LanguageModelHead):
        return config
    before = getattr(config.head, "transform", None)
    if isinstance(config.encoder, c.TransformerStack) and config.encoder.placement == "post":
        if isinstance(head, c.ClassificationHead):
            head = replace(head, pooling="first", transform=c.Transform("tanh"))
    elif isinstance(head, (c.ClassificationHead, c.TagHead)):
        head = replace(head, transform=before)
    return replace(config, head=head, embedding=replace(config.embedding, sharing="none"))


# ---------------------------------------------------------------- the machine


def choose_precision() -> str:
    """bf16 if this machine multiplies matrices clearly faster in it, else fp32.

    The fastest of several tries each, in turn, so that a busy moment does not decide; some 50 ms.
    """
    fastest = {"fp32": float("inf"), "bf16": float("inf")}
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    for _ in range(12):
        for name, dtype in dtypes.items():
            a, b = torch.ones(1024, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
            start = time.perf_counter()
            a @ b
            fastest[name] = min(fastest[name], time.perf_counter() - start)
    return "bf16" if fastest["bf16"] * 1.3 < fastest["fp32"] else "fp32"


def available_memory() -> int:
    """Bytes that can be taken without swapping: MemAvailable on Linux, half of all elsewhere."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def accumulation(config: c.ModelConfig, options: TrainingOptions, available: int) -> int:
    """Small batches per update, so that one batch's activations and the optimiser fit half of `available`."""
    fixed = count(config) * 4 * 6
    budget = max(available // 2 - fixed, 64 << 20)
    whole = (options.batch_tokens or 1) * activation_bytes(config, 2 if options.precision == "bf16" else 4)
    return max(1, -(-whole // budget))


def activation_bytes(config: c.ModelConfig, element: int) -> int:
    """Roughly what a training step keeps per target token, source token included (measured: within a half)."""
    total = 0
    for stack in (config.encoder, config.decoder):
        if isinstance(stack, c.TransformerStack):
            total += stack.layers * (24 * config.width + 4 * stack.feed_forward.size + 64 * stack.attention.heads)
        elif stack is not None:
            total += stack.layers * 24 * stack.size + 64 * stack.size
    return total * element
