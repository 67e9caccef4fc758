"""The native engine against CTranslate2 and Hugging Face: translation, on the same random weights and the same work.

    python benchmarks/engine_translate.py [--batch 1 32] [--beams 1 4] [--rounds 7] [--all]

Marian's base shape (6+6 layers, D=512, F=2048, 8 heads, vocabulary 32,000), 24 source tokens, exactly 32 new tokens a
source. Contestants take turns, each in a process of its own. CTranslate2 runs in its best settings here: int8 with
CT2_FORCE_CPU_ISA=AVX512, one thread, two threads, or two workers of one thread that share a batch; --all adds its other
types and Hugging Face. The table gives medians in output tokens a second (those of the best hypothesis), their range, and the
ratio to the best peer; then the most memory that each process had at once, from its start on.
Needs `pip install ctranslate2`.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contest import Step, contest, memory, models, show

sys.path.insert(0, str(Path(__file__).parents[1]))

VOCABULARY, TOKENS, SOURCE = 32000, 32, 24
WARM_UP = 3
BEAMS: dict[str, Any] = {"length_formula": "average", "early_stopping": "heuristic"}


def sources(batch: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(4, VOCABULARY - 1, (batch, SOURCE)).tolist()


def prepare(folder: Path) -> None:
    """The same random model as a bundle, as a CTranslate2 folder and as Hugging Face's."""
    from ctranslate2.converters.transformers import MarianMTLoader

    from tests.marian import random_marian, weft_model
    from weft.bundle import save_bundle
    from weft.text.tokenizer import Tokenizer

    marian = random_marian(0, vocabulary=VOCABULARY, width=512, layers=6, heads=8, feed_forward=2048, tied=True)
    marian.save_pretrained(folder / "hf")
    spec = MarianMTLoader().get_model_spec(marian)
    names = [f"t{i}" for i in range(VOCABULARY - 1)]  # its loader takes the last row for that of padding, and leaves it out
    names[2], names[3] = "<s>", "</s>"
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.decoder_start_token, spec.config.add_source_eos = "<s>", False
    spec.validate()
    spec.optimize(quantization="float32")
    (folder / "ct2").mkdir()
    spec.save(str(folder / "ct2"))
    model = weft_model(marian)
    tokenizer = Tokenizer.train("word", [f"w{i} w{i}" for i in range(200)], 100)
    weights = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    config = model.config.with_tokenizer(tokenizer.fingerprint, VOCABULARY)
    save_bundle(folder / "weft", config, weights, tokenizer.to_json(), {}, "Random weights.")


def weft(folder: Path, precision: str, batch: int, beams: int) -> Step:
    from weft.backends import open_runner
    from weft.bundle import open_bundle
    from weft.decode import generate_batch
    from weft.spec.decoding import GenerationOptions

    runner, ids = open_runner(open_bundle(folder / "weft"), "native", precision), sources(batch)
    options = GenerationOptions(beams=beams, max_new_tokens=TOKENS, min_new_tokens=TOKENS, banned=(0, 3),
                                **BEAMS if beams > 1 else {})

    def run(_: object) -> None:
        assert all(len(best[0].tokens) == TOKENS for best in generate_batch(runner, ids, options))
    return run


def ctranslate2(folder: Path, kind: str, workers: int, threads: int, batch: int, beams: int) -> Step:
    os.environ["CT2_FORCE_CPU_ISA"] = "AVX512"
    import ctranslate2 as ct2

    translator = ct2.Translator(str(folder / "ct2"), device="cpu", compute_type=kind, inter_threads=workers,
                                intra_threads=threads)
    texts = [[f"t{token}" for token in row] for row in sources(batch)]

    def run(_: object) -> None:
        found = translator.translate_batch(texts, beam_size=beams, max_batch_size=-(-batch // workers),
                                           min_decoding_length=TOKENS, max_decoding_length=TOKENS)
        assert all(len(one.hypotheses[0]) == TOKENS for one in found)
    return run


def hugging_face(folder: Path, batch: int, beams: int) -> Step:
    import torch
    from transformers import MarianMTModel

    from weft.nn.memory import keep_large_blocks

    keep_large_blocks()
    model = MarianMTModel.from_pretrained(folder / "hf").to(torch.bfloat16).eval()
    ids = torch.tensor(sources(batch))

    def run(_: object) -> None:
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), num_beams=beams, do_sample=False,
                           max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    return run


def compare(folder: Path, batch: int, beams: int, rounds: int, everything: bool) -> None:
    makers = {"weft int8": partial(weft, folder, "int8", batch, beams),
              "ctranslate2 int8, 1 thread": partial(ctranslate2, folder, "int8", 1, 1, batch, beams),
              "ctranslate2 int8, 2 threads": partial(ctranslate2, folder, "int8", 1, 2, batch, beams)}
    if batch > 1:
        makers["ctranslate2 int8, 2 workers"] = partial(ctranslate2, folder, "int8", 2, 1, batch, beams)
    if everything:
        makers |= {"weft bf16": partial(weft, folder, "bf16", batch, beams),
                   "weft fp32": partial(weft, folder, "fp32", batch, beams),
                   "ctranslate2 float32, 2 threads": partial(ctranslate2, folder, "float32", 1, 2, batch, beams),
                   "hugging face bf16": partial(hugging_face, folder, batch, beams)}
    seconds = contest(makers, [None] * (WARM_UP + rounds), WARM_UP)
    print(f"batch {batch}, beam {beams}, {SOURCE} source and {TOKENS} new tokens")
    show({name: [batch * TOKENS / took for took in values] for name, values in seconds.items()}, "tokens/s")
    for name, most in memory(makers, None).items():
        print(f"  {name:28s} {most / 1e6:9,.0f} MB in memory at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the models are, or are put; default: a temporary folder")
    options = parser.parse_args()
    with models(options.folder, prepare) as folder:
        for batch in options.batch:
            for beams in options.beams:
                compare(folder, batch, beams, options.rounds, options.all)


if __name__ == "__main__":
    main()
