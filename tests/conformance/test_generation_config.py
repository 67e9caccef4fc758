"""A checkpoint's own way to decode: what transformers generates by generation_config.json, Weft does without being told."""

from __future__ import annotations

import json
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
from weft.families import bart
from weft.families.family import families

FAMILIES = dict(families())
WAYS: dict[str, dict[str, Any]] = {
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 2},
    "bart-cnn": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3,
                 "forced_bos_token_id": 7, "forced_eos_token_id": 2, "min_length": 6},
    "bans": {"bad_words_ids": [[0], [11, 12], [9]], "suppress_tokens": [1, 3], "repetition_penalty": 1.3},
    "source": {"encoder_no_repeat_ngram_size": 2, "encoder_repetition_penalty": 1.5, "num_beams": 3, "early_stopping": False},
    "ends": {"eos_token_id": [2, 20, 30], "min_new_tokens": 3}}


def theirs_by_file(folder: Path, model: Any, row: list[int], limit: int) -> list[int]:
    config = transformers.GenerationConfig.from_pretrained(folder)
    out = model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.int64),
                         generation_config=config, max_new_tokens=limit)
    return out[0].tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "architecture"), [
    ("bart", "BartForConditionalGeneration"), ("mbart", "MBartForConditionalGeneration"),
    ("m2m100", "M2M100ForConditionalGeneration"), ("gpt2", "GPT2LMHeadModel")])
def test_the_same_text_by_the_same_file(tmp_path: Path, name: str, architecture: str, way: str) -> None:
    family = FAMILIES[name]
    values = dict(bart.TINY if name != "gpt2" else next(iter(family.EXAMPLES.values())))
    model = hf.make_checkpoint(tmp_path / "hf", family.MODEL_TYPES[0], architecture, values)
    keys = WAYS[way] if name != "gpt2" else {key: value for key, value in WAYS[way].items() if key != "min_length"}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if name != "gpt2":
        special["decoder_start_token_id"] = read_config(tmp_path / "hf")[2].special.start
    (tmp_path / "hf" / "generation_config.json").write_text(json.dumps({**special, **keys}))
    bundle = open_bundle(import_checkpoint(tmp_path / "hf", tmp_path / "weft").path)
    ours = weft.load(bundle.path)
    again = export_bundle(bundle, tmp_path / "again")
    for row in hf.rows(np.random.default_rng(3), (3, 7, 12)):
        source = row if name == "gpt2" else [*row, 2]
        want = theirs_by_file(tmp_path / "hf", model, source, 12)
        new = want[len(row):] if name == "gpt2" else want[1:]
        result = ours.generate([row], max_new_tokens=12)[0]
        assert list(result.tokens) == new[: len(result.tokens)]
        assert len(result.tokens) == len(new) - (new[-1] in ours.options().eos or new[-1] == 2)
        assert theirs_by_file(again, model, source, 12) == want
