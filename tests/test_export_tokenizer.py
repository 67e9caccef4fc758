"""An exported folder gives transformers the ids that Weft feeds its model, and comes in again as what went out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import weft
from tests.bundles import bundle, checkpoint
from tests.text.test_foreign import ROBERTA, TEXTS, WORDPIECES, fill, small_bytes
from weft.bundle import find_model, open_bundle
from weft.convert import export_bundle, import_checkpoint
from weft.tasks.complete import prompt_ids

PLAIN = [text for text in TEXTS if text and "<" not in text]
"""Texts that spell no special token, which are tokens there and text here."""


@pytest.mark.parametrize(("name", "family"), [("sentiment", "modernbert"), ("ner", "modernbert"), ("shakespeare", "llama")])
def test_models_trained_by_weft(tmp_path: Path, name: str, family: str) -> None:
    path = find_model(name)
    theirs = transformers.AutoTokenizer.from_pretrained(export_bundle(open_bundle(path), tmp_path / "hf", family))
    ours = weft.load(path)
    special = ours.config.special
    assert special.prefix
    for text in PLAIN:
        mine = prompt_ids(ours.tokenizer, special, text) if ours.config.encoder is None \
            else ours.task.sources(ours.tokenizer, [text], special)[0]
        assert theirs(text).input_ids == mine, text
    again = open_bundle(import_checkpoint(tmp_path / "hf", tmp_path / "again").path)
    before = open_bundle(path)
    assert again.config == before.config and again.tokenizer_json == ours.tokenizer.to_json()
    assert all(np.array_equal(again.tensors()[key].bits, tensor.bits) for key, tensor in before.tensors().items())
    twice = export_bundle(again, tmp_path / "twice")
    assert (twice / "tokenizer.json").read_bytes() == (tmp_path / "hf" / "tokenizer.json").read_bytes()


BERT = {"vocab.txt": "\n".join(WORDPIECES) + "\n"}
TOKENIZERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "BertTokenizer": ("bert", BERT, {}), "DistilBertTokenizer": ("distilbert", BERT, {}),
    "ElectraTokenizer": ("electra", BERT, {}), "RobertaTokenizer": ("roberta", small_bytes(ROBERTA), {"type_vocab_size": 1}),
    "GPT2Tokenizer": ("gpt2", small_bytes(["<|endoftext|>"]), {}),
    "BartTokenizer": ("bart", small_bytes(ROBERTA), {})}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("saved", [False, True], ids=["older files", "tokenizer.json"])
def test_roles_and_segments_come_and_go(tmp_path: Path, name: str, saved: bool) -> None:
    family, files, changes = TOKENIZERS[name]
    folder = checkpoint(tmp_path, family, vocab_size=300, **changes)
    for left in ("tokenizer.json", "tokenizer_config.json"):
        (folder / left).unlink()
    fill(folder, files, tokenizer_class=name)
    theirs = getattr(transformers, name).from_pretrained(folder)
    if saved:
        theirs.save_pretrained(folder)
        for file in files:
            (folder / file).unlink()
    out = export_bundle(open_bundle(import_checkpoint(folder, tmp_path / "weft").path), tmp_path / "out")
    again = transformers.AutoTokenizer.from_pretrained(out)
    roles = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
    assert [getattr(again, f"{role}_token") for role in roles] == [getattr(theirs, f"{role}_token") for role in roles]
    for text in PLAIN:
        assert dict(again(text)) == dict(theirs(text))
        assert dict(again(text, "a pair")) == dict(theirs(text, "a pair"))


@pytest.mark.parametrize(("said", "roles"), [
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}), ({"tokenizer_class": "TokenizersBackend", "sep_token": "</s>"},
                                                           {"sep_token": "</s>"}),
    ({"tokenizer_class": "GPT2Tokenizer", "bos_token": None, "eos_token": "</s>"}, {"eos_token": "</s>"}),
    ({}, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})])
def test_roles_that_a_folder_does_not_name(tmp_path: Path, said: dict[str, Any], roles: dict[str, str]) -> None:
    """Of a class that has none, there are none; of one that Weft does not know, those of the model."""
    folder = checkpoint(tmp_path, "gpt_neox")
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    out = export_bundle(open_bundle(import_checkpoint(folder, tmp_path / "weft").path), tmp_path / "out")
    written = json.loads((out / "tokenizer_config.json").read_text())
    assert {key: token for key, token in written.items() if key.endswith("_token")} == roles


def test_no_end_is_made_up(tmp_path: Path) -> None:
    """GPT-1 has no end of sequence: it goes on to the limit, there and here, and nothing else is said of it."""
    folder = checkpoint(tmp_path, "openai_gpt", eos_token_id=None, bos_token_id=None)
    path = import_checkpoint(folder, tmp_path / "weft").path
    model = weft.load(path)
    assert model.config.special.eos is None
    for beams in (1, 3):
        (result,) = model.generate([[5, 6, 7]], max_new_tokens=20, beams=beams, min_new_tokens=3)
        assert len(result.tokens) == 20 and result.reason == "limit"
    out = export_bundle(open_bundle(path), tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["eos_token_id"] is None
    assert "eos_token" not in json.loads((out / "tokenizer_config.json").read_text())
    assert "eos_token_id" not in json.loads((out / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text('{"eos_token_id": [5]}')
    ended = export_bundle(open_bundle(import_checkpoint(folder, tmp_path / "ended").path), tmp_path / "again")
    assert json.loads((ended / "generation_config.json").read_text())["eos_token_id"] == 5


def test_a_template_of_another_form_is_kept(tmp_path: Path) -> None:
    """Whatever it does to pairs."""
    made = open_bundle(bundle(tmp_path / "made", "bert", around=True))
    folder = export_bundle(made, tmp_path / "hf")
    state = json.loads((folder / "tokenizer.json").read_text())
    assert state["post_processor"]["pair"][-1] != {"SpecialToken": {"id": "</s>", "type_id": 1}}
    path = import_checkpoint(folder, tmp_path / "weft").path
    assert open_bundle(path).tokenizer_json == made.tokenizer_json
    again = export_bundle(open_bundle(path), tmp_path / "again")
    assert (again / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
