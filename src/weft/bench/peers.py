"""The same bundle in other programs, where they are installed: Hugging Face transformers, CTranslate2 and llama.cpp.

Each gets the checkpoint that `weft export` writes. Texts are token ids here, so that all do the same work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from weft.bench.contest import Make, Step, Work
from weft.bundle import Bundle
from weft.convert import export_bundle
from weft.errors import UsageError, WeftError
from weft.families.family import families
from weft.tensors import read_file

NEEDED = {"hugging face": ("transformers", "torch"), "ctranslate2": ("ctranslate2", "transformers", "torch"),
          "llama.cpp": ("llama_cpp", "gguf")}
"""Packages of each."""
Apart = Callable[..., str]
"""Calls a function in a process of its own and says why it failed, or nothing."""


def prepared(bundle: Bundle, folder: Path, threads: int, apart: Apart) -> tuple[dict[str, Make], dict[str, str]]:
    """What makes the steps of those that can run the bundle, and why the others cannot. folder: for their files."""
    left_out = {name: f"not installed: {', '.join(lacking)}" for name, packages in NEEDED.items()
                if (lacking := [package for package in packages if find_spec(package) is None])}
    if len(left_out) == len(NEEDED):
        return {}, left_out
    theirs = folder / "hf"
    try:
        _export(bundle, theirs)
    except WeftError as error:
        return {}, {name: left_out.get(name, str(error)) for name in NEEDED}
    makers: dict[str, Make] = {}
    for name, (convert, make) in {"hugging face": (None, _hugging_faces), "ctranslate2": (_to_ctranslate2, _ctranslate2s),
                                  "llama.cpp": (_to_gguf, _llama_cpps)}.items():
        if name in left_out:
            continue
        reason = apart(convert, theirs, folder / name) if convert else ""
        if reason:
            left_out[name] = reason
        else:
            makers |= make(folder / name if convert else theirs, threads)
    return makers, left_out


def _export(bundle: Bundle, folder: Path) -> None:
    """In the family that it came from, or the first that can say it. Raises UsageError, of the family that lacks least."""
    if bundle.family is not None:
        export_bundle(bundle, folder)
        return
    reasons: list[str] = []
    for name, _ in families():
        try:
            export_bundle(bundle, folder, name)
            return
        except WeftError as error:
            reasons.append(str(error))
    raise UsageError(min(reasons, key=lambda reason: (" would be " not in reason, reason.count(" would be "), len(reason))))


def _config(folder: Path | str) -> dict[str, Any]:
    return json.loads((Path(folder) / "config.json").read_text("utf-8"))


# ---------------------------------------------------------------- Hugging Face transformers


def _hugging_faces(folder: Path, threads: int) -> dict[str, Make]:
    return {f"hugging face {short}": partial(_hugging_face, folder, dtype, threads)
            for short, dtype in (("bf16", "bfloat16"), ("fp32", "float32"))}


def _hugging_face(folder: Path, dtype: str, threads: int) -> tuple[Step, dict[str, Any]]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    architecture = _config(folder)["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def step(work: Work, new: int) -> None:
        ids = torch.tensor(work.rows)
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            if not new:
                model(input_ids=ids, attention_mask=mask)
                return
            found = model.generate(input_ids=ids, attention_mask=mask, num_beams=work.beams, do_sample=False,
                                   max_new_tokens=new, min_new_tokens=new)
        before = 1 if model.config.is_encoder_decoder else ids.shape[1]
        assert found.shape[1] == before + new, f"{found.shape[1] - before} new tokens instead of {new}"

    return step, {}


# ---------------------------------------------------------------- CTranslate2


def _to_ctranslate2(checkpoint: Path, folder: Path) -> None:
    import transformers
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_tokenizer(self, tokenizer_class: Any, path: str, **options: Any) -> Any:
            """The tokenizer.json, whichever files the checkpoint's own class would want, and a token for every row of the
            embedding: ids are all that counts here."""
            tokenizer, rows = transformers.PreTrainedTokenizerFast.from_pretrained(path), _config(path)["vocab_size"]
            tokenizer.add_tokens([f"<row {row}>" for row in range(len(tokenizer), rows)])
            return tokenizer

        def load_model(self, model_class: Any, path: str, **options: Any) -> Any:
            """transformers 5 has dropped the kinds of positions of BERT, which the converter asks for."""
            model = super().load_model(model_class, path, **options)
            if model.config.model_type == "bert" and not hasattr(model.config, "position_embedding_type"):
                model.config.position_embedding_type = "absolute"
            return model

    Converter(str(checkpoint)).convert(str(folder))


def _ctranslate2s(folder: Path, threads: int) -> dict[str, Make]:
    """In its usual ways: which is best hangs on the work."""
    ways = {"ctranslate2 int8, 1 thread": (1, 1)}
    if threads > 1:
        ways |= {f"ctranslate2 int8, {threads} threads": (1, threads), f"ctranslate2 int8, {threads} workers": (threads, 1)}
    return {name: partial(_ctranslate2, folder, *way) for name, way in ways.items()}


def _ctranslate2(folder: Path, workers: int, threads: int) -> tuple[Step, dict[str, Any]]:
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file() and "avx512f" in cpu.read_text():
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")  # it would take AVX2 on an AMD processor
    import ctranslate2

    names = _ctranslate2_tokens(folder)
    config = _config(folder)
    options = {"device": "cpu", "compute_type": "int8", "inter_threads": workers, "intra_threads": threads}

    def named(work: Work, end: int | None = None) -> list[list[str]]:
        return [[names[token] for token in row[:end]] for row in work.rows]

    if (folder / "source_vocabulary.json").is_file() or (folder / "shared_vocabulary.json").is_file():
        translator = ctranslate2.Translator(str(folder), **options)
        end = -1 if config.get("add_source_eos") else None

        def translate(work: Work, new: int) -> None:
            found = translator.translate_batch(named(work, end), beam_size=work.beams, min_decoding_length=new,
                                               max_decoding_length=new, max_batch_size=-(-len(work.rows) // workers))
            assert all(len(one.hypotheses[0]) == new for one in found)

        return translate, {}
    try:
        generator = ctranslate2.Generator(str(folder), **options)
    except (RuntimeError, ValueError):
        encoder = ctranslate2.Encoder(str(folder), **options)
        return lambda work, new: encoder.forward_batch([list(row) for row in work.rows]), {}

    def go_on(work: Work, new: int) -> None:
        found = generator.generate_batch(named(work), beam_size=work.beams, min_length=new, max_length=new,
                                         include_prompt_in_result=False, max_batch_size=-(-len(work.rows) // workers))
        assert all(len(one.sequences[0]) == new for one in found)

    return go_on, {}


def _ctranslate2_tokens(folder: Path) -> list[str]:
    for name in ("source_vocabulary.json", "shared_vocabulary.json", "vocabulary.json"):
        if (folder / name).is_file():
            return json.loads((folder / name).read_text("utf-8"))
    raise ValueError(f"{folder} has no vocabulary")


# ---------------------------------------------------------------- llama.cpp


def _to_gguf(checkpoint: Path, path: Path) -> None:
    """Q8_0 of a LLaMA, Qwen 2 or GPT-2 shape, without a vocabulary. Layouts are those of convert_hf_to_gguf.py."""
    import gguf

    config = _config(checkpoint)
    kinds = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "gpt2": gguf.MODEL_ARCH.GPT2}
    if config["model_type"] not in kinds:
        raise ValueError(f"gguf files are written here of {', '.join(kinds)}, not of {config['model_type']}")
    kind = kinds[config["model_type"]]
    old = config["model_type"] == "gpt2"
    layers, width = (config["n_layer"], config["n_embd"]) if old else (config["num_hidden_layers"], config["hidden_size"])
    heads = config["n_head"] if old else config["num_attention_heads"]
    keys = heads if old else config.get("num_key_value_heads") or heads
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[kind])
    writer.add_context_length(config["n_positions"] if old else config["max_position_embeddings"])
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length((config.get("n_inner") or 4 * width) if old else config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    if old:
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        rotary = config.get("rope_parameters") or {}
        if rotary.get("rope_type", "default") != "default":
            raise ValueError(f"{rotary['rope_type']} scaling of rotary positions is not written here")
        writer.add_head_count_kv(keys)
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(rotary.get("rope_theta") or config.get("rope_theta", 10000.0))
        if config.get("head_dim"):
            writer.add_rope_dimension_count(config["head_dim"])
            writer.add_key_length(config["head_dim"])
            writer.add_value_length(config["head_dim"])
    names = gguf.get_tensor_name_map(kind, layers)
    for name, tensor in read_file(checkpoint / "model.safetensors").items():
        array, known = tensor.wide(), names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise ValueError(f"gguf has no name for {name}")
        if old and array.ndim == 2 and ("c_attn" in name or "c_proj" in name or "c_fc" in name):
            array = array.T
        if config["model_type"] == "llama" and ("q_proj" in name or "k_proj" in name):
            array = _pairs_together(array, heads if "q_proj" in name else keys)
        _add_tensor(gguf, writer, known, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensor(gguf: Any, writer: Any, name: str, array: np.ndarray) -> None:
    """Matrices as Q8_0, in blocks of 32 inputs; vectors and position tables as they are."""
    if array.ndim < 2 or array.shape[1] % 32 or name.startswith("position"):
        writer.add_tensor(name, array)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)


def _pairs_together(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of halves (i, i + half) of a head -> rows of pairs (2i, 2i + 1), which llama.cpp turns."""
    return array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def _llama_cpps(path: Path, threads: int) -> dict[str, Make]:
    return {"llama.cpp Q8_0": partial(_llama_cpp, path, threads)}


def _llama_cpp(path: Path, threads: int) -> tuple[Step, dict[str, Any]]:
    import llama_cpp as ll

    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(str(path).encode(), ll.llama_model_default_params())
    if not model:
        raise RuntimeError("llama.cpp does not open the file that was made for it")
    vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    contexts: dict[tuple[int, int], Any] = {}

    def context_of(work: Work) -> Any:
        shape = (len(work.rows), len(work.rows) * (len(work.rows[0]) + work.new))
        if shape not in contexts:
            for other in contexts.values():
                ll.llama_free(other)
            contexts.clear()
            asked = ll.llama_context_default_params()
            asked.n_ctx, asked.n_batch, asked.n_seq_max = shape[1], max(512, work.read), shape[0]
            asked.n_threads = asked.n_threads_batch = threads
            contexts[shape] = ll.llama_init_from_model(model, asked)
            if not contexts[shape]:
                raise RuntimeError("llama.cpp makes no context for this work")
        return contexts[shape]

    def step(work: Work, new: int) -> None:
        context, rows = context_of(work), len(work.rows)
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        tokens, position = [list(row) for row in work.rows], 0
        for _ in range(new):
            last = _llama_decode(ll, context, tokens, position)
            position += len(tokens[0])
            logits = [np.ctypeslib.as_array(ll.llama_get_logits_ith(context, place), (vocabulary,)) for place in last]
            tokens = [[int(row.argmax())] for row in logits]
        assert len(tokens) == rows

    return step, {}


def _llama_decode(ll: Any, context: Any, tokens: list[list[int]], position: int) -> list[int]:
    """Read the next tokens of each row; the place of each row's last one."""
    batch = ll.llama_batch_init(sum(map(len, tokens)), 0, 1)
    place, last = 0, []
    for row, own in enumerate(tokens):
        for offset, token in enumerate(own):
            batch.token[place], batch.pos[place] = token, position + offset
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
            batch.logits[place] = offset == len(own) - 1
            place += 1
        last.append(place - 1)
    batch.n_tokens = place
    status = ll.llama_decode(context, batch)
    ll.llama_batch_free(batch)
    if status:
        raise RuntimeError(f"llama_decode answered {status}")
    return last
