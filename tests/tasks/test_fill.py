"""Hidden words: the ids of transformers, whatever white space stands before the mask."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from tokenizers import AddedToken

from tests.bundles import checkpoint
from tests.text.test_foreign import ROBERTA, WORDPIECES, fill, small_bytes
from weft.convert import import_checkpoint
from weft.model import load
from weft.tasks.fill import encode_masked

TEXTS = ["the {}.", "{} the", "a {} {}!", "a{}b", "a\n{} b", "x  {}", "a \t{}\n b", "a\u3000{}\u00a0b", "a\x1c{} the well"]


@pytest.mark.parametrize("name", ["RobertaTokenizer", "BertTokenizer"])
@pytest.mark.parametrize("rstrip", [False, True])
def test_ids_around_a_mask(tmp_path: Path, name: str, rstrip: bool) -> None:
    folder = checkpoint(tmp_path, "bert", vocab_size=300)
    for left in ("tokenizer.json", "tokenizer_config.json"):
        (folder / left).unlink()
    files = small_bytes(ROBERTA) if name == "RobertaTokenizer" else {"vocab.txt": "\n".join(WORDPIECES) + "\n"}
    fill(folder, files, tokenizer_class=name)
    theirs = getattr(transformers, name).from_pretrained(folder)
    lstrip = name == "RobertaTokenizer"
    theirs.add_special_tokens({"mask_token": AddedToken(theirs.mask_token, lstrip=lstrip, rstrip=rstrip, special=True)})
    theirs.save_pretrained(folder)
    ours = load(import_checkpoint(folder, tmp_path / "weft").path)
    for text in TEXTS:
        written = text.format(*["<mask>"] * 2)
        ids, places = encode_masked(ours.tokenizer, ours.config.special, written)
        assert ids == theirs(text.format(*[theirs.mask_token] * 2)).input_ids, text
        assert all(ids[at] == theirs.mask_token_id for at in places)
