"""Random small checkpoints of Hugging Face transformers, and what it computes with them: the oracle of every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WORDS = 48


def make_checkpoint(folder: Path, model_type: str, architecture: str, example: Mapping[str, Any], *, seed: int = 0,
                    dtype: torch.dtype = torch.float32, shard: str = "5GB") -> Any:
    """A random model of that class, saved with a small tokenizer; returns it in float32, ready to compute."""
    config = transformers.AutoConfig.for_model(model_type, **{**SPECIAL, **example})
    untied = example.get("tie_word_embeddings") is False
    save_random(folder, config, architecture, untied=untied, seed=seed, dtype=dtype, shard=shard)
    return reopened(folder, architecture)


def save_random(folder: Path, config: Any, architecture: str, *, untied: bool = False, seed: int = 0,
                dtype: torch.dtype = torch.float32, shard: str = "5GB") -> None:
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)._from_config(config)
    if untied:
        untie(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # static positions stay as they are
                parameter.add_(0.15 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("logits_bias"):
                buffer.add_(torch.randn_like(buffer))
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder, config.vocab_size)


def reopened(folder: Path, architecture: str) -> Any:
    """The checkpoint's model in float32, ready to compute."""
    alibi = getattr(transformers.AutoConfig.from_pretrained(folder), "alibi", False)
    attention = "sdpa" if alibi else "eager"  # Falcon's eager one adds ALiBi twice, its own default once
    kind = getattr(transformers, architecture)
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()
    for module in model.modules():
        if hasattr(module, "create_weight"):  # static positions, which Pegasus rounds to the kind of the file
            module.weight.data = module.create_weight()
    model.generation_config = transformers.GenerationConfig()  # no forced tokens, which a class may have by default
    return model


def untie(model: Any) -> None:
    """A head of its own for models whose class ties what the config unties, unless the file has both (T5 1.1)."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is table.weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())


def save_tokenizer(folder: Path, vocabulary: int) -> None:
    words = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *(f"w{i}" for i in range(min(WORDS, vocabulary) - 5))]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(words[:5])
    tokenizer.save(str(folder / "tokenizer.json"))


def rows(rng: np.random.Generator, lengths: Sequence[int], vocabulary: int = WORDS) -> list[list[int]]:
    return [rng.integers(5, vocabulary, length).tolist() for length in lengths]


def pad(sequences: Sequence[Sequence[int]], side: str, token: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and attention mask, padded with `token` on `side`."""
    longest = max(map(len, sequences))
    ids, mask = torch.full((len(sequences), longest), token), torch.zeros(len(sequences), longest, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        place = slice(0, len(sequence)) if side == "right" else slice(longest - len(sequence), longest)
        ids[row, place], mask[row, place] = torch.tensor(sequence), 1
    return ids, mask


def valid(array: Any, sequences: Sequence[Sequence[int]], side: str) -> list[np.ndarray]:
    """Each row's own positions of [B, T, ...]."""
    array = np.asarray(array.detach().float() if hasattr(array, "detach") else array)
    return [row[: len(own)] if side == "right" else row[len(row) - len(own):]
            for row, own in zip(array, sequences, strict=True)]


def positions(mask: torch.Tensor) -> torch.Tensor:
    """What generate() passes for padding on the left."""
    return (mask.cumsum(1) - 1).clamp(min=0)
