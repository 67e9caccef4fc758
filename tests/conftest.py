"""Small real things that several tests share: a corpus that can be learnt, a random bundle."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: before torch and NumPy start threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from weft import backends
from weft.bundle import save_bundle
from weft.families import transformer
from weft.nn.model import Model as Network
from weft.text import Tokenizer

backends.AUTO.update(native="fp32", imported="fp32")  # numbers are compared here
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def toy_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Number words to digits, in reverse order: `two five.` -> `5 2.` A tiny model learns it in seconds."""
    chance = random.Random(seed)
    rows = [[chance.randrange(10) for _ in range(chance.randint(1, 6))] for _ in range(count)]
    return [(" ".join(NUMBERS[n] for n in row) + ".", " ".join(str(n) for n in reversed(row)) + ".") for row in rows]


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


@pytest.fixture(scope="session", name="tiny_bundle")
def _tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 40 positions with a real tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = Tokenizer.train("metaspace_bpe", [text for pair in toy_pairs(200) for text in pair], 400)
    config = transformer.config(tokenizer.vocabulary_size, layers=1, width=16, heads=2, feed_forward=32, window=40)
    config = config.with_tokenizer(tokenizer.fingerprint, tokenizer.vocabulary_size)
    network = Network(config).initialise(0)
    weights = {name: tensor.detach().numpy() for name, tensor in network.named_parameters()}
    return save_bundle(folder, config, weights, tokenizer.to_json(), {"beams": 2, "banned": [0, 1, 2]}, "# tiny\n")
