"""Import of a LLaMA-shaped checkpoint of 1.1 billion parameters in bfloat16: seconds and peak memory, then opening it.

    python benchmarks/import_llama.py [--folder DIR]

Makes the checkpoint (random numbers, 2.2 GB) first; each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from weft.convert import foreign_config
from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.spec.parameters import parameters
from weft.tensors import Stored, write_file
from weft.text import Tokenizer

CONFIG = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
          "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 2048}
MEASURE = """
import resource, sys, time
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
IMPORT = "from weft.convert import import_checkpoint; import_checkpoint({0!r}, {1!r})"
OPEN = "from weft.bundle import open_bundle; bundle = open_bundle({0!r}); bundle.tensors()"


def make(folder: Path) -> int:
    """Write the checkpoint; returns the bytes of its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = llama.read_config(ForeignConfig(CONFIG), "language_model")
    noise = np.random.default_rng(0)
    block = (noise.normal(0, 0.02, 1 << 20).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    table = parameters(config)
    tensors = {}
    for rule in llama.rules(config):
        shape = table[rule.ours[0]].shape
        tensors[rule.theirs[0]] = Stored(np.resize(block, shape), "BF16")
    write_file(folder / "model.safetensors", tensors, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(foreign_config(llama, config)))
    Tokenizer.train("byte_bpe", ["some text for a tokenizer"], 300).save(folder / "tokenizer.json")
    return sum(tensor.bits.nbytes for tensor in tensors.values())


def measured(work: str) -> tuple[float, float]:
    run = subprocess.run([sys.executable, "-c", MEASURE.format(work=work)], capture_output=True, text=True, check=True)
    seconds, memory = run.stdout.split()
    return float(seconds), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        size = make(folder / "hf")
        print(f"tensors {size / 1e9:.2f} GB")
        theirs, ours = str(folder / "hf"), str(folder / "weft")
        for name, work in (("import", IMPORT.format(theirs, ours)), ("open", OPEN.format(ours))):
            seconds, memory = measured(work)
            print(f"{name:8} {seconds:6.2f} s   peak {memory / 1e9:.2f} GB, {memory / size:.2f} times the tensors")


if __name__ == "__main__":
    main()
