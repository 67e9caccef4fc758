"""The text model within one that reads images too: Gemma 3 of 4B parameters and more, against transformers."""

from __future__ import annotations

import json
import shutil
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
from weft.cli import run
from weft.convert import export_bundle, import_checkpoint, read_config
from weft.errors import BundleError, ConfigError, UnknownNameError, WeftError
from weft.families import gemma3
from weft.foreign_weights import read_tensors
from weft.spec.parameters import count
from weft.tensors import Stored, write_file

VISION = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
          "patch_size": 14}
PROMPT = [5, 9, 11, 30, 8, 40, 7]


def make(folder: Path, example: str = "plain", **changes: Any) -> Any:
    text = gemma3.EXAMPLES[example] | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4, image_token_index=52,
                                       tie_word_embeddings=text.get("tie_word_embeddings", True), **changes)
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration._from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    hf.save_tokenizer(folder, text["vocab_size"])
    return hf.reopened(folder, "Gemma3ForConditionalGeneration")


@pytest.fixture(scope="module", name="original")
def _original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma3") / "hf"
    make(folder)
    return folder


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, original: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "hf"))


@pytest.mark.parametrize("example", ["plain", "untied_odd_head", "scaled_bases", "one_base"])
@torch.no_grad()
def test_its_text_model_computes_the_same(tmp_path: Path, example: str) -> None:
    theirs = make(tmp_path / "hf", example)
    done = import_checkpoint(tmp_path / "hf", tmp_path / "weft")
    ours = weft.load(done.path, precision="fp32")
    wanted = theirs(torch.tensor([PROMPT])).logits[0]
    np.testing.assert_allclose(ours.logits([PROMPT])[0], wanted, atol=1e-4, rtol=1e-4)
    tokens = theirs.generate(torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT), dtype=torch.int64),
                             max_new_tokens=9, do_sample=False, eos_token_id=2, pad_token_id=0)[0, len(PROMPT):].tolist()
    assert list(ours.generate([PROMPT], max_new_tokens=9)[0].tokens) == [token for token in tokens if token != 2]
    out = export_bundle(open_bundle(done.path), tmp_path / "out")
    again = hf.reopened(out, "Gemma3ForCausalLM")
    np.testing.assert_allclose(again(torch.tensor([PROMPT])).logits[0], wanted, atol=1e-6)


def test_every_tensor_is_kept_bit_for_bit_or_named(folder: Path) -> None:
    done = import_checkpoint(folder, folder.parent / "weft")
    stored, dropped = read_tensors(folder), {name for name, reason in done.dropped if "reads images" in reason}
    written = read_tensors(export_bundle(open_bundle(done.path), folder.parent / "out"))
    assert {name.replace("language_model.", "", 1) for name in stored if name not in dropped} == set(written)
    assert all(stored[f"language_model.{name}"].equals(tensor) for name, tensor in written.items())
    assert dropped and all(name.startswith(("vision_tower.", "multi_modal_projector.")) for name in dropped)


def test_names_by_other_versions_of_transformers(folder: Path) -> None:
    before = weft.load(import_checkpoint(folder, folder.parent / "weft").path).logits([PROMPT])
    renamed = {f"model.{name.replace('language_model.model.', 'language_model.')}": Stored(np.array(tensor.bits), tensor.kind)
               for name, tensor in read_tensors(folder).items()}
    write_file(folder / "model.safetensors", renamed, {"format": "pt"})
    done = import_checkpoint(folder, folder.parent / "again")
    np.testing.assert_array_equal(weft.load(done.path).logits([PROMPT]), before)


def test_as_published(tmp_path: Path) -> None:
    """gemma-3-4b-it, whose text_config leaves most to the defaults: Gemma Team 2025, table 1, counts 675M parameters of
    embeddings and 3,209M others."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    values = {"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
              "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
              "model_type": "gemma3", "text_config": text, "torch_dtype": "bfloat16", "vision_config": VISION}
    (tmp_path / "config.json").write_text(json.dumps(values))
    name, _, config = read_config(tmp_path)
    assert name == "gemma3" and config.special.eos == 1 and count(config) == pytest.approx(675e6 + 3209e6, rel=0.002)
    (tmp_path / "config.json").write_text(json.dumps(text))
    assert read_config(tmp_path)[2] == config


@pytest.mark.parametrize(("changes", "kind", "message"), [
    ({"text_config": None}, ConfigError, "text_config, which tells of the part that reads text, is None"),
    ({"text_config": {"model_type": "llama"}}, ConfigError, "text_config.model_type = 'llama'; within gemma3 Weft reads"),
    ({"text_config": {"final_logit_softcapping": 30.0}}, ConfigError, "text_config.final_logit_softcapping = 30.0, which tr"),
    ({"architectures": ["Gemma3Model"]}, UnknownNameError, "unknown architecture of gemma3 'Gemma3Model'"),
    ({"architectures": "Gemma3Model"}, UnknownNameError, "unknown architecture of gemma3 'Gemma3Model'"),
    ({"audio_config": {"layers": 2}}, ConfigError, "keys that Weft does not know: audio_config = "),
])
def test_what_is_refused(folder: Path, changes: dict[str, Any], kind: type[WeftError], message: str) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(kind, match=message):
        import_checkpoint(folder, folder.parent / "refused")


def test_a_tensor_that_is_no_part_of_either(folder: Path) -> None:
    tensors = {name: Stored(np.array(tensor.bits), tensor.kind) for name, tensor in read_tensors(folder).items()}
    write_file(folder / "model.safetensors", tensors | {"audio_tower.weight": Stored(np.zeros(2, np.float32), "F32")})
    with pytest.raises(BundleError, match=r"audio_tower.weight \[2\] is not in the model"):
        import_checkpoint(folder, folder.parent / "refused")


def test_the_command_says_what_is_left_out_in_few_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(folder), str(folder.parent / "weft")]) == 0
    printed = capsys.readouterr().out
    assert "more that card.md names: reads images, which Weft does not do" in printed and len(printed.splitlines()) < 6
    card = (folder.parent / "weft" / "card.md").read_text()
    assert all(f"`{name}`" in card for name in read_tensors(folder) if not name.startswith("language_model."))
