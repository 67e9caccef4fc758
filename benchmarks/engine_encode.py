"""The native engine against Hugging Face and ONNX Runtime: BERT-base on whole texts, the same random weights and work.

    python benchmarks/engine_encode.py [--batch 1 32] [--rounds 7] [--all]

12 layers, D=768, 128 tokens a text, hidden states of every token, as for an embedding. Contestants take turns, each in a
process of its own: Weft int8 and bf16, Hugging Face bf16, ONNX Runtime fp32 and int8 (dynamic quantisation, the matrices by
row), each on as many threads as there are cores. --all adds fp32 of Weft and Hugging Face. Medians in texts a second, their
range, and the ratio to the best peer.
Needs `pip install onnx onnxruntime`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contest import Step, contest, models, show

LENGTH, WARM_UP = 128, 2


def texts(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1000, 30000, (batch, LENGTH))


def prepare(folder: Path) -> None:
    """The same random model as Hugging Face's, as a bundle that embeds, and as ONNX in fp32 and int8."""
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from weft.convert import import_checkpoint
    from weft.text import Tokenizer

    torch.manual_seed(0)
    config = transformers.BertConfig(attn_implementation="eager")  # what can be written as ONNX
    model = transformers.BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    model.save_pretrained(folder / "hf")
    Tokenizer.train("wordpiece", ["abc"], 40, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]).save(
        folder / "hf" / "tokenizer.json")
    import_checkpoint(folder / "hf", folder / "weft")

    class Hidden(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> Any:
            return model(input_ids=ids).last_hidden_state

    ids = torch.ones((2, LENGTH), dtype=torch.int64)
    torch.onnx.export(Hidden().eval(), (ids,), str(folder / "fp32.onnx"), input_names=["ids"], output_names=["states"],
                      dynamic_axes={"ids": {0: "batch"}, "states": {0: "batch"}}, dynamo=False)
    quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)


def weft(folder: Path, precision: str, batch: int) -> Step:
    from weft.backends import open_runner
    from weft.bundle import open_bundle

    runner, ids = open_runner(open_bundle(folder / "weft"), "native", precision), texts(batch).tolist()

    def step(_: object) -> None:
        runner.score(ids)
    return step


def hugging_face(folder: Path, dtype: str, batch: int) -> Step:
    import torch
    import transformers

    from weft.nn.memory import keep_large_blocks

    keep_large_blocks()
    model = transformers.BertModel.from_pretrained(folder / "hf", add_pooling_layer=False, dtype=getattr(torch, dtype)).eval()
    ids = torch.from_numpy(texts(batch))

    def step(_: object) -> None:
        with torch.inference_mode():
            model(input_ids=ids)
    return step


def onnx_runtime(folder: Path, kind: str, batch: int) -> Step:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(str(folder / f"{kind}.onnx"), settings, providers=["CPUExecutionProvider"])
    ids = texts(batch)

    def step(_: object) -> None:
        session.run(None, {"ids": ids})
    return step


def compare(folder: Path, batch: int, rounds: int, everything: bool) -> None:
    makers: dict[str, Callable[[], Step]] = {
        "weft int8": partial(weft, folder, "int8", batch), "weft bf16": partial(weft, folder, "bf16", batch),
        "hugging face bf16": partial(hugging_face, folder, "bfloat16", batch),
        "onnx runtime fp32": partial(onnx_runtime, folder, "fp32", batch),
        "onnx runtime int8": partial(onnx_runtime, folder, "int8", batch)}
    if everything:
        makers |= {"weft fp32": partial(weft, folder, "fp32", batch),
                   "hugging face fp32": partial(hugging_face, folder, "float32", batch)}
    seconds = contest(makers, [None] * (WARM_UP + rounds), WARM_UP)
    print(f"BERT-base, batch {batch}, {LENGTH} tokens a text")
    show({name: [batch / took for took in values] for name, values in seconds.items()}, "texts/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the models are, or are put; default: a temporary folder")
    options = parser.parse_args()
    with models(options.folder, prepare) as folder:
        for batch in options.batch:
            compare(folder, batch, options.rounds, options.all)


if __name__ == "__main__":
    main()
