"""What an import puts around a text: eos behind every source of an encoder-decoder, none behind a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers

import weft
from tests.conformance.checkpoints import make_checkpoint
from weft.convert import import_checkpoint
from weft.families import bart, bert, llama
from weft.tasks.complete import prompt_ids

EOS, BOS = 2, 1
TEMPLATES: dict[str, list[str] | None] = {"nothing": None, "begin": ["<s>", "$A"], "end": ["$A", "</s>"],
                                          "both": ["<s>", "$A", "</s>"], "other": ["$A", "</s>", "w1"]}


def imported(folder: Path, template: str, model_type: str, architecture: str, example: dict[str, Any]) -> weft.Model:
    make_checkpoint(folder / "hf", model_type, architecture, example)
    path = folder / "hf" / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    single = TEMPLATES[template]
    if single:
        ids = [(token, tokenizer.token_to_id(token)) for token in single if token != "$A"]
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single, [*single, "$B"], ids)
    tokenizer.save(str(path))
    return weft.load(import_checkpoint(folder / "hf", folder / "weft").path)


@pytest.mark.parametrize(("template", "source"), [("nothing", [7, 8, EOS]), ("begin", [BOS, 7, 8, EOS]), ("end", [7, 8, EOS]),
                                                  ("both", [BOS, 7, 8, EOS]), ("other", [7, 8, EOS, 6])])
def test_sources_end(tmp_path: Path, template: str, source: list[int]) -> None:
    model = imported(tmp_path, template, "bart", "BartForConditionalGeneration", bart.TINY)
    assert model._source("w2 w3") == source
    assert model.task.encode(model.tokenizer, [("w2 w3", "w4")], model.config).sources[0].tolist() == source


@pytest.mark.parametrize(("template", "prompt"), [("nothing", [7, 8]), ("begin", [BOS, 7, 8]), ("end", [7, 8]),
                                                  ("both", [BOS, 7, 8])])
def test_prompts_go_on(tmp_path: Path, template: str, prompt: list[int]) -> None:
    model = imported(tmp_path, template, "llama", "LlamaForCausalLM", llama.EXAMPLES["plain"])
    special = model.config.special
    assert prompt_ids(model.tokenizer, special, "w2 w3") == prompt and special.suffix is None
    assert model.complete("w2 w3", max_new_tokens=3).tokens == model.generate([prompt], max_new_tokens=3)[0].tokens


@pytest.mark.parametrize(("template", "row"), [("nothing", [7, 8]), ("both", [BOS, 7, 8, EOS])])
def test_encoders_read_what_the_template_says(tmp_path: Path, template: str, row: list[int]) -> None:
    model = imported(tmp_path, template, "bert", "BertForMaskedLM", bert.EXAMPLES["plain"])
    assert model.task.sources(model.tokenizer, ["w2 w3"], model.config.special) == [row]
