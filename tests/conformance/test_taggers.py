"""Imported taggers read the ids of transformers' pipeline, and give words the labels of its tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from tests.bundles import checkpoint
from tests.text.test_foreign import ROBERTA, WORDPIECES, fill, small_bytes, trained
from tests.variants import ENCODER
from weft.convert import import_checkpoint
from weft.model import Model, load
from weft.spec import config as c
from weft.tasks.tag import WORD, entities, tag_rows

TEXTS = ["Angela Merkel visited Sofia, Bulgaria.", "I didn't see U.S. troops (in 2020-21)", "  the  well\n\tthe. ",
         "東京 😀 and é!", "iPhone手机在Sofia的 ひらがな และไทย", "नई दिल्ली। e\u0301te\u0301",
         "@them https://x.y/z, O’Neil's", "a\x00\u200b b", "the well " * 60]
LABELS = {str(index): f"L{index}" for index in range(7)}
UNIGRAM = {"vocab_size": 180, "model_type": "unigram"}


@pytest.mark.parametrize("name", ["RobertaTokenizer", "BertTokenizer", "XLMRobertaTokenizer"])
def test_ids_and_labels(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path, "bert", "tag", vocab_size=300, id2label=LABELS)
    for left in ("tokenizer.json", "tokenizer_config.json"):
        (folder / left).unlink()
    files: dict[str, Any] = {"RobertaTokenizer": small_bytes(ROBERTA), "BertTokenizer": {"vocab.txt": "\n".join(WORDPIECES)},
                             "XLMRobertaTokenizer": {"sentencepiece.bpe.model": trained(**UNIGRAM)}}[name]
    fill(folder, files, tokenizer_class=name, model_max_length=40)
    theirs = getattr(transformers, name).from_pretrained(folder)
    theirs.save_pretrained(folder)
    ours = load(import_checkpoint(folder, tmp_path / "weft").path)
    tokens = transformers.pipeline("token-classification", model=str(folder), tokenizer=theirs, device="cpu", ignore_labels=[])
    for text in TEXTS:
        read = spied(ours, monkeypatch)
        found = ours.tag(text)
        assert read == [theirs(text, truncation=True).input_ids], text
        tokens_there = tokens(text)
        words = [match.span() for match in WORD.finditer(text)]
        want = [(span, label) for span in words if (label := label_of(tokens_there, span))]
        have = [(span, one.label) for one in found for span in words if one.start <= span[0] and span[1] <= one.end]
        assert have == want, text
    assert any("only the" in notice for notice in ours.notices)


def label_of(tokens: list[dict[str, Any]], word: tuple[int, int]) -> str | None:
    """Of the first token that stands on a character of the word."""
    return next((token["entity"] for token in tokens if token["end"] > word[0] and token["start"] < word[1]), None)


def spied(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows that the model will read."""
    rows: list[list[int]] = []
    score = type(model.runner).score_all

    def note(given: list[list[int]]) -> Any:
        rows.extend(given)
        return score(model.runner, given)

    monkeypatch.setattr(model.runner, "score_all", note)
    return rows


@pytest.mark.parametrize(("text", "words"), [
    ("北京是iPhone", ["北", "京", "是", "iPhone"]), ("नई दिल्ली।", ["नई", "दिल्ली", "।"]), ("cafe\u0301s", ["cafe\u0301s"]),
    ("مُحَمَّد هنا", ["مُحَمَّد", "هنا"]), ("می\u200cروم", ["می\u200cروم"]), ("Zürich-based U.S.", ["Zürich-based", "U.S", "."])])
def test_words_of_running_text(text: str, words: list[str]) -> None:
    assert WORD.findall(text) == words


def test_several_words_on_one_token_are_one_entity() -> None:
    """A SentencePiece may be several characters of Chinese: of them only the first begins a name."""
    logits = np.array([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]], np.float32)
    runner = type("Runner", (), {"score_all": lambda self, rows: [logits]})()
    config = replace(ENCODER, head=c.TagHead(("O", "B-LOC", "I-LOC")), embedding=c.Embedding("none"))
    (tags, shares), = tag_rows(runner, config, [([7, 8, 9], [0, 0, 1, 2])])
    assert tags == ["B-LOC", "I-LOC", "B-LOC", "O"]
    found = entities("北京上海", [(0, 1), (1, 2), (2, 3), (3, 4)], tags, shares)
    assert [(one.text, one.start, one.end) for one in found] == [("北京", 0, 2), ("上", 2, 3)]
