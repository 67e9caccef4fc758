"""What is odd in published encoder-decoder checkpoints: old keys, switches of other models, names of tied tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import weft
from tests.conformance import checkpoints as hf
from weft.bundle import open_bundle
from weft.convert import export_bundle, import_checkpoint, read_config
from weft.errors import ConfigError
from weft.families import bart, t5
from weft.foreign_weights import read_tensors
from weft.spec import config as c
from weft.tensors import write_file

OLD = {"_num_labels": 3, "add_bias_logits": False, "classif_dropout": 0.0, "id2label": {"0": "LABEL_0"}, "num_beams": 6,
       "bad_words_ids": [[60]], "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "num_hidden_layers": 6, "prefix": " ",
       "is_encoder_decoder": True, "task_specific_params": {"summarization": {"num_beams": 4}}, "init_std": 0.02}
LAYOUTS = {
    "bart": {"normalize_before": False, "add_final_layer_norm": False, "normalize_embedding": True,
             "static_position_embeddings": False, "extra_pos_embeddings": 0},
    "mbart": {"normalize_before": True, "add_final_layer_norm": True, "normalize_embedding": True,
              "static_position_embeddings": False, "extra_pos_embeddings": 2},
    "marian": {"normalize_before": False, "add_final_layer_norm": False, "normalize_embedding": False,
               "static_position_embeddings": True, "extra_pos_embeddings": 61, "decoder_vocab_size": 61},
    "pegasus": {"normalize_before": True, "add_final_layer_norm": True, "normalize_embedding": False,
                "static_position_embeddings": True, "extra_pos_embeddings": 1},
}


def config_of(folder: Path, values: Mapping[str, Any]) -> c.ModelConfig:
    (folder / "config.json").write_text(json.dumps(values))
    return read_config(folder)[2]


@pytest.mark.parametrize("model_type", LAYOUTS)
def test_old_keys_that_say_what_the_family_does(tmp_path: Path, model_type: str) -> None:
    values = {"model_type": model_type, **bart.TINY}
    assert config_of(tmp_path, values | OLD | LAYOUTS[model_type]) == config_of(tmp_path, values)


@pytest.mark.parametrize(("model_type", "wrong"), [
    ("bart", {"normalize_before": True}), ("bart", {"static_position_embeddings": True}),
    ("mbart", {"normalize_before": False}), ("pegasus", {"add_final_layer_norm": False}),
    ("marian", {"normalize_embedding": True}), ("marian", {"decoder_vocab_size": 70}), ("m2m_100", {"router_bias": True}),
    ("bart", {"activation_function": "mish"}), ("t5", {"is_gated_act": True}),
    ("t5", {"feed_forward_proj": "gated-mish"}), ("t5", {"dense_act_fn": "silu"}), ("mt5", {"is_decoder_only": True}),
])
def test_what_weft_does_not_do_is_refused_by_name(tmp_path: Path, model_type: str, wrong: dict[str, Any]) -> None:
    tiny = t5.TINY if "t5" in model_type else bart.TINY
    (key,) = wrong
    with pytest.raises(ConfigError, match="dense_act_fn|feed_forward_proj" if key == "feed_forward_proj" else key):
        config_of(tmp_path, {"model_type": model_type, **tiny, **wrong})


def rewrite(folder: Path, names: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """Rename tensors by regular expressions (to "": leave out) and change keys of config.json."""
    tensors = {}
    for name, tensor in read_tensors(folder).items():
        for old, new in names.items():
            name = re.sub(old, new, name)
        if name:
            tensors[name] = tensor
    tensors = {name: type(tensor)(np.array(tensor.bits), tensor.kind) for name, tensor in tensors.items()}
    write_file(folder / "model.safetensors", tensors, {"format": "pt"})
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | dict(config)))


def same_logits(folder: Path, theirs: Any) -> Path:
    ours = weft.load(import_checkpoint(folder / "hf", folder / "weft").path)
    source, target = [5, 9, 11, 30, 8], [2, 7, 9]
    with torch.no_grad():
        want = theirs(torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]
    np.testing.assert_allclose(ours.logits([source], [target])[0], want, atol=1e-4, rtol=1e-4)
    return folder / "weft"


@pytest.mark.parametrize("kept", ["lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"])
def test_any_name_of_the_tied_matrix_will_do(tmp_path: Path, kept: str) -> None:
    theirs = hf.make_checkpoint(tmp_path / "hf", "marian", "MarianMTModel", bart.TINY | {"decoder_start_token_id": 0})
    rewrite(tmp_path / "hf", {r"^model\.shared\.weight$": kept}, {})
    same_logits(tmp_path, theirs)


def test_bart_without_a_head_has_no_bias_of_logits(tmp_path: Path) -> None:
    """As facebook/bart-large: a BartModel, which transformers opens as a language model too."""
    theirs = hf.make_checkpoint(tmp_path / "hf", "bart", "BartForConditionalGeneration", bart.TINY)
    theirs.final_logits_bias.zero_()
    rewrite(tmp_path / "hf", {"^final_logits_bias$": "", r"^model\.": ""}, {"architectures": ["BartModel"]})
    out = export_bundle(open_bundle(same_logits(tmp_path, theirs)), tmp_path / "again")
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BartModel"]
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(out).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in theirs.state_dict().items())


def test_t5_1_1_whose_head_is_the_embedding(tmp_path: Path) -> None:
    """As transformers 5 makes it of a config that unties the head: no lm_head.weight in the file, no scale."""
    values = {**hf.SPECIAL, **t5.TINY, **t5.V1_1, "decoder_start_token_id": 0}
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**values)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    hf.save_tokenizer(tmp_path / "hf", t5.TINY["vocab_size"])
    assert "lm_head.weight" not in read_tensors(tmp_path / "hf")
    same_logits(tmp_path, theirs)
