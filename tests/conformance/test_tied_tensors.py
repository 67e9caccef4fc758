"""Embeddings that share their numbers, under every name by which versions of transformers have stored them: each is read, or
named as a copy; a copy that differs is an error, or a matrix of its own where transformers takes it for one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import weft
from tests.bundles import edit
from tests.conformance import checkpoints as hf
from weft.bundle import open_bundle
from weft.convert import export_bundle, import_checkpoint
from weft.errors import BundleError
from weft.families import bart, t5
from weft.foreign_weights import read_tensors
from weft.tensors import Stored, write_file

CLASSES = {"t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration", "bart": "BartForConditionalGeneration",
           "mbart": "MBartForConditionalGeneration", "marian": "MarianMTModel",
           "m2m_100": "M2M100ForConditionalGeneration", "pegasus": "PegasusForConditionalGeneration"}
LIKE_BART = [name for name in CLASSES if "t5" not in name]
SOURCE, TARGET = [5, 9, 11, 30, 8], [2, 7, 9]


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All but the empty one."""
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, model_type: str) -> Path:
    tiny = {**t5.TINY, "num_layers": 1} if "t5" in model_type else {**bart.TINY, "encoder_layers": 1, "decoder_layers": 1}
    hf.make_checkpoint(tmp_path / "hf", model_type, CLASSES[model_type], tiny | {"decoder_start_token_id": 0})
    return tmp_path


def store(folder: Path, tables: Mapping[str, Stored]) -> None:
    """Leave out every embedding and output layer of the checkpoint, and put in these."""
    kept = {name: Stored(np.array(tensor.bits), tensor.kind) for name, tensor in read_tensors(folder).items()
            if not any(part in name for part in ("shared", "embed_tokens", "lm_head"))}
    write_file(folder / "model.safetensors", kept | tables, {"format": "pt"})


def random_table(folder: Path, seed: int) -> Stored:
    width = json.loads((folder / "config.json").read_text())["d_model"]
    return Stored(0.2 * np.random.default_rng(seed).standard_normal((61, width)).astype(np.float32), "F32")


def theirs(folder: Path, model_type: str) -> torch.Tensor:
    model = getattr(transformers, CLASSES[model_type]).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([SOURCE]), decoder_input_ids=torch.tensor([TARGET])).logits[0]


def ours(folder: Path, out: Path) -> tuple[np.ndarray, set[str]]:
    """Logits, and the names of the tensors that were dropped."""
    made = import_checkpoint(folder, out)
    return weft.load(made.path).logits([SOURCE], [TARGET])[0], {name for name, _ in made.dropped}


@pytest.mark.parametrize("model_type", ["t5", "mt5"])
@pytest.mark.parametrize("tied", [True, False, None])
@pytest.mark.parametrize("head", ["", "copy", "own"])
def test_t5(folder: Path, model_type: str, tied: bool | None, head: str) -> None:
    """transformers 4 kept all copies or some; 5 writes that the head is the embedding even where it is not."""
    checkpoint, table = folder / "hf", random_table(folder / "hf", 0)
    edit(checkpoint / "config.json", tie_word_embeddings=... if tied is None else tied, scale_decoder_outputs=...)
    lm_head = {"": {}, "copy": {t5.HEAD: table}, "own": {t5.HEAD: random_table(checkpoint, 1)}}[head]
    for number, names in enumerate(subsets(t5.TABLES)):
        store(checkpoint, dict.fromkeys(names, table) | lm_head)
        logits, dropped = ours(checkpoint, folder / f"weft{number}")
        np.testing.assert_allclose(logits, theirs(checkpoint, model_type), atol=1e-4, rtol=1e-4)
        assert dropped >= set(names[1:])
        out = export_bundle(open_bundle(folder / f"weft{number}"), folder / f"out{number}")
        np.testing.assert_allclose(theirs(out, model_type), logits, atol=1e-4, rtol=1e-4)
        written = set(read_tensors(out))
        assert written - set(read_tensors(checkpoint)) <= {t5.TABLES[0]}, "an export adds no copy"
        assert (t5.HEAD in written) == (head == "own" or (head == "copy" and tied is False))
        assert (head == "copy" and tied is not False) == (t5.HEAD in dropped)


@pytest.mark.parametrize("model_type", LIKE_BART)
def test_any_names_of_one_matrix_will_do(folder: Path, model_type: str) -> None:
    checkpoint, table = folder / "hf", random_table(folder / "hf", 0)
    tables = ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    for number, names in enumerate(subsets(tables)):
        store(checkpoint, dict.fromkeys(names, table))
        logits, dropped = ours(checkpoint, folder / f"weft{number}")
        np.testing.assert_allclose(logits, theirs(checkpoint, model_type), atol=1e-4, rtol=1e-4)
        assert dropped >= set(names[1:])


@pytest.mark.parametrize("model_type", CLASSES)
def test_a_copy_that_differs_is_an_error(folder: Path, model_type: str) -> None:
    checkpoint, table = folder / "hf", random_table(folder / "hf", 0)
    prefix = "" if "t5" in model_type else "model."
    for name in (f"{prefix}encoder.embed_tokens.weight", f"{prefix}decoder.embed_tokens.weight",
                 *(["lm_head.weight"] if prefix else [])):
        store(checkpoint, {f"{prefix}shared.weight": table, name: random_table(checkpoint, 1)})
        with pytest.raises(BundleError, match=f"{name} differs from {prefix}shared.weight, which config.json says it is tied"):
            import_checkpoint(checkpoint, folder / "refused")


@pytest.mark.parametrize("model_type", ["bart", "mbart", "marian"])
def test_untied_as_transformers_4_kept_it(folder: Path, model_type: str) -> None:
    """Only the head had a matrix of its own: both embeddings stayed one, under one name."""
    checkpoint, table, own = folder / "hf", random_table(folder / "hf", 0), random_table(folder / "hf", 1)
    names = ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    edit(checkpoint / "config.json", tie_word_embeddings=False)
    store(checkpoint, dict.fromkeys(names[1:], table) | {"lm_head.weight": own})
    wanted = theirs(checkpoint, model_type)
    for number, stored in enumerate((names, names[1:], names[:1])):
        store(checkpoint, dict.fromkeys(stored, table) | {"lm_head.weight": own})
        logits, _ = ours(checkpoint, folder / f"weft{number}")
        np.testing.assert_allclose(logits, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("model_type", "architecture", "shared", "own"), [
    ("bert", "BertForMaskedLM", "cls.predictions.bias", "cls.predictions.decoder.bias"),
    ("roberta", "RobertaForMaskedLM", "lm_head.bias", "lm_head.decoder.bias")])
def test_the_bias_of_masked_words(tmp_path: Path, model_type: str, architecture: str, shared: str, own: str) -> None:
    """It is stored by either name, or by both; untied, transformers 4 kept one of them all the same."""
    example = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 40,
               "max_position_embeddings": 40}
    model = hf.make_checkpoint(tmp_path / "hf", model_type, architecture, example)
    bias = Stored(np.array(model.state_dict()[shared]), "F32")
    other = Stored(bias.bits + 1, "F32")
    with torch.no_grad():
        wanted = model(torch.tensor([SOURCE])).logits[0].numpy()
    body = {name: Stored(np.array(tensor.bits), "F32") for name, tensor in read_tensors(tmp_path / "hf").items()
            if name not in (shared, own)}
    head = own.replace("bias", "weight")

    def logits(tied: bool, **biases: Stored) -> np.ndarray:
        edit(tmp_path / "hf" / "config.json", tie_word_embeddings=tied)
        found = body | ({} if tied else {head: body[f"{model_type}.embeddings.word_embeddings.weight"]}) | biases
        write_file(tmp_path / "hf" / "model.safetensors", found, {"format": "pt"})
        return weft.load(import_checkpoint(tmp_path / "hf", tmp_path / "weft").path).runner.score([SOURCE])[0]

    for tied, biases in itertools.product((True, False), ({shared: bias}, {own: bias}, {shared: bias, own: bias})):
        np.testing.assert_allclose(logits(tied, **biases), wanted, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(logits(False, **{shared: other, own: bias}), wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(BundleError, match=f"{own} differs from {shared}"):
        logits(True, **{shared: bias, own: other})


def test_copies_in_other_kinds_of_numbers(tmp_path: Path) -> None:
    """A head kept in float32 beside an embedding in bfloat16 is a copy if its numbers are the same."""
    hf.make_checkpoint(tmp_path / "hf", "bart", CLASSES["bart"], bart.TINY, dtype=torch.bfloat16)
    tensors: dict[str, Any] = {name: Stored(np.array(tensor.bits), tensor.kind)
                               for name, tensor in read_tensors(tmp_path / "hf").items()}
    wide = tensors["model.shared.weight"].wide()
    write_file(tmp_path / "hf" / "model.safetensors", tensors | {"lm_head.weight": Stored(wide, "F32")}, {"format": "pt"})
    assert ("lm_head.weight", "tied to model.shared.weight") in import_checkpoint(tmp_path / "hf", tmp_path / "weft").dropped
    wide[3, 3] += 1e-6
    write_file(tmp_path / "hf" / "model.safetensors", tensors | {"lm_head.weight": Stored(wide, "F32")}, {"format": "pt"})
    with pytest.raises(BundleError, match=r"lm_head.weight differs from model.shared.weight"):
        import_checkpoint(tmp_path / "hf", tmp_path / "weft")
