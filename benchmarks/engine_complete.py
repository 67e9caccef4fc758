"""The native engine against llama.cpp, CTranslate2 and Hugging Face: completion, on the same random weights and the same work.

    python benchmarks/engine_complete.py gpt2 [--batch 1 8] [--rounds 7] [--all]
    python benchmarks/engine_complete.py llama [--batch 1] [--rounds 3]

gpt2: GPT-2 small (12 layers, D=768, vocabulary 50,257). llama: 1.1 billion parameters (22 layers, D=2048, F=5632, 32 heads
that share 4 keys and values, vocabulary 32,000). A prompt of 128 tokens each, then 64 new ones, greedy. Contestants take turns,
each in a process of its own: a round reads the prompts alone (prefill), then does the whole; decoding is what the whole takes
longer. llama.cpp runs Q8_0, natively built, on as many threads as there are cores; CTranslate2 int8 with
CT2_FORCE_CPU_ISA=AVX512; --all adds bf16 of Weft, llama.cpp and Hugging Face. Medians in tokens a second, their range, and
the ratio to the best peer.
Needs `CMAKE_ARGS=-DGGML_NATIVE=ON pip install llama-cpp-python gguf ctranslate2`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contest import Step, contest, models, show

PROMPT, NEW, WARM_UP = 128, 64, 1
PHASES = {"prefill": 1, "whole": NEW}
"""Tokens that are generated."""


def prompts(batch: int, vocabulary: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(5, vocabulary, (batch, PROMPT)).tolist()


# ---------------------------------------------------------------- the same model in every format


def hugging_face_model(shape: str) -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    if shape == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config())
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, max_position_embeddings=2048)).to(torch.bfloat16)


def prepare(folder: Path, shape: str) -> None:
    from weft.convert import import_checkpoint
    from weft.text import Tokenizer

    model = hugging_face_model(shape)
    model.save_pretrained(folder / "hf")
    Tokenizer.train("character", ["abc"], 20).save(folder / "hf" / "tokenizer.json")
    import_checkpoint(folder / "hf", folder / "weft")
    for kind in ("Q8_0", "BF16"):
        write_gguf(folder / f"{kind}.gguf", shape, model, kind)
    if shape == "gpt2":
        write_ctranslate2(folder / "ct2", model)


def write_ctranslate2(folder: Path, model: Any) -> None:
    from ctranslate2.converters.transformers import GPT2Loader

    spec = GPT2Loader().get_model_spec(model)
    spec.register_vocabulary([f"t{i}" for i in range(model.config.vocab_size)])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "t0"
    spec.validate()
    spec.optimize(quantization="float32")
    folder.mkdir()
    spec.save(str(folder))


def write_gguf(path: Path, shape: str, model: Any, kind: str) -> None:
    import gguf

    config, writer = model.config, gguf.GGUFWriter(path, shape)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if shape == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    wanted = gguf.GGMLQuantizationType[kind]
    for name, array in gguf_tensors(shape, model):
        plain = array.ndim == 1 or "position" in name
        data = array if plain else gguf.quants.quantize(array, wanted)
        writer.add_tensor(name, data, raw_dtype=None if plain else wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


GPT2_PARTS = {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
              "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
LLAMA_PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
               "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
               "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_tensors(shape: str, model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """llama.cpp's names and float32 numbers."""
    tops = {"gpt2": {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"},
            "llama": {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}}[shape]
    blocks, parts = ("transformer.h.", GPT2_PARTS) if shape == "gpt2" else ("model.layers.", LLAMA_PARTS)
    for key, tensor in model.state_dict().items():
        name, end = key.rsplit(".", 1)
        array = tensor.float().numpy()
        if name in tops:
            yield f"{tops[name]}.{end}", array
        elif name.startswith(blocks):
            layer, part = name.removeprefix(blocks).split(".", 1)
            if shape == "gpt2" and array.ndim == 2:
                array = np.ascontiguousarray(array.T)  # its layers keep matrices the other way round
            if part in ("self_attn.q_proj", "self_attn.k_proj"):  # llama.cpp turns neighbours, not halves
                heads = model.config.num_attention_heads if "q_proj" in part else model.config.num_key_value_heads
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
            yield f"blk.{layer}.{parts[part]}.{end}", np.ascontiguousarray(array)


# ---------------------------------------------------------------- contestants: each makes a step that does a phase


def weft(folder: Path, precision: str, ids: list[list[int]]) -> Step:
    from weft.backends import open_runner
    from weft.bundle import open_bundle
    from weft.decode import generate_batch
    from weft.spec.decoding import GenerationOptions

    runner = open_runner(open_bundle(folder / "weft"), "native", precision)

    def step(phase: Any) -> None:
        count = PHASES[phase]
        options = GenerationOptions(max_new_tokens=count, min_new_tokens=count)
        assert all(len(best[0].tokens) == count for best in generate_batch(runner, None, options, prompts=ids))
    return step


def llama_cpp(folder: Path, kind: str, ids: list[list[int]]) -> Step:
    """Its C interface, with no work in Python but the choice of the likeliest."""
    import llama_cpp as l

    log = l.llama_log_callback(lambda *_: None)
    l.llama_log_set(log, ctypes.c_void_p(0))
    l.llama_backend_init()
    model = l.llama_model_load_from_file(str(folder / f"{kind}.gguf").encode(), l.llama_model_default_params())
    settings = l.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = len(ids) * (PROMPT + NEW + 64), len(ids) * PROMPT, 512
    settings.n_seq_max, settings.n_threads, settings.n_threads_batch = len(ids), os.cpu_count(), os.cpu_count()
    settings.kv_unified = False
    context = l.llama_init_from_model(model, settings)
    vocabulary = l.llama_vocab_n_tokens(l.llama_model_get_vocab(model))
    batch = l.llama_batch_init(len(ids) * PROMPT, 0, 1)

    def read(rows: list[list[int]], start: int) -> list[int]:
        """Reads each row's tokens; the likeliest token after each."""
        batch.n_tokens, last = 0, []
        for number, row in enumerate(rows):
            for place, token in enumerate(row):
                at = batch.n_tokens
                batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, start + place, 1, number
                batch.logits[at] = place == len(row) - 1
                batch.n_tokens += 1
            last.append(batch.n_tokens - 1)
        assert l.llama_decode(context, batch) == 0
        return [int(np.ctypeslib.as_array(l.llama_get_logits_ith(context, at), (vocabulary,)).argmax()) for at in last]

    def step(phase: Any) -> None:
        l.llama_memory_clear(l.llama_get_memory(context), True)
        tokens = read(ids, 0)
        for place in range(PROMPT, PROMPT + PHASES[phase] - 1):
            tokens = read([[token] for token in tokens], place)
    step.keep = log  # type: ignore[attr-defined]
    return step


def ctranslate2(folder: Path, ids: list[list[int]]) -> Step:
    os.environ["CT2_FORCE_CPU_ISA"] = "AVX512"
    import ctranslate2 as ct2

    generator = ct2.Generator(str(folder / "ct2"), device="cpu", compute_type="int8", intra_threads=os.cpu_count())
    rows = [[f"t{token}" for token in row] for row in ids]

    def step(phase: Any) -> None:
        count = PHASES[phase]
        found = generator.generate_batch(rows, max_length=count, min_length=count, include_prompt_in_result=False)
        assert all(len(one.sequences[0]) == count for one in found)
    return step


def hugging_face(folder: Path, ids: list[list[int]]) -> Step:
    import torch
    import transformers

    from weft.nn.memory import keep_large_blocks

    keep_large_blocks()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.bfloat16).eval()
    rows = torch.tensor(ids)

    def step(phase: Any) -> None:
        count = PHASES[phase]
        with torch.inference_mode():
            model.generate(rows, attention_mask=torch.ones_like(rows), do_sample=False, max_new_tokens=count,
                           min_new_tokens=count, pad_token_id=0)
    return step


# ---------------------------------------------------------------- the table


def compare(folder: Path, shape: str, ids: list[list[int]], rounds: int, everything: bool) -> None:
    makers: dict[str, Callable[[], Step]] = {"weft int8": partial(weft, folder, "int8", ids),
                                             "llama.cpp Q8_0": partial(llama_cpp, folder, "Q8_0", ids)}
    if shape == "gpt2":
        makers["ctranslate2 int8"] = partial(ctranslate2, folder, ids)
    if everything:
        makers |= {"weft bf16": partial(weft, folder, "bf16", ids), "llama.cpp BF16": partial(llama_cpp, folder, "BF16", ids),
                   "hugging face bf16": partial(hugging_face, folder, ids)}
    seconds = contest(makers, ["prefill", "whole"] * (WARM_UP + rounds), 2 * WARM_UP)
    print(f"{shape}, batch {len(ids)}: {PROMPT} tokens of prompt, {NEW} new")
    for phase in ("prefill", "decode"):
        print(f" {phase}")
        show({name: speed_of(phase, len(ids), values) for name, values in seconds.items()}, "tokens/s")


def speed_of(phase: str, batch: int, seconds: list[float]) -> list[float]:
    """Tokens a second of each round."""
    prefill, whole = np.array(seconds[::2]), np.array(seconds[1::2])
    if phase == "prefill":
        return (batch * PROMPT / prefill).tolist()
    return (batch * (NEW - 1) / np.maximum(whole - prefill, 1e-9)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=("gpt2", "llama"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the models are, or are put; default: a temporary folder")
    options = parser.parse_args()
    with models(options.folder, partial(prepare, shape=options.shape)) as folder:
        for batch in options.batch:
            compare(folder, options.shape, prompts(batch, 32000), options.rounds, options.all)


if __name__ == "__main__":
    main()
