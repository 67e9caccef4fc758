"""Tokenizers of every kind: exact round trips, no way into the special ids, the same from the same texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import TokenizerError, UnknownNameError
from weft.text import StreamDecoder, Tokenizer
from weft.text.recipes import KINDS

TEXTS = ["The cat sat on the mat.", "Le chat s'est assis sur le tapis !", "I love cats, dogs and 123 birds.",
         "J'aime les chats, l'été et 45 oiseaux…", "Two  spaces, a\ttab and\na line."] * 3
HARD = ["", " ", "  a  b  ", "\n\t x", "▁a▁ ▁", "<s></s><pad><unk>", "a<s>b </s>", "😀👩‍👩‍👧",
        "e\u0301 \u00a0\u202f!", "日本語テキスト",
        "مرحبا", "<0x0A><0xFF>", "\x00\x01\x7f", "def f(x):\n    return x  # ok", "ÀÉ" * 50, "x" * 300, "##ing ##"]
SIZES = {"byte_bpe": 320, "metaspace_bpe": 330, "unigram": 330, "wordpiece": 120, "word": 60, "character": 80}
TRAINED = {kind: Tokenizer.train(kind, TEXTS, SIZES[kind]) for kind in KINDS}
LOSSLESS = [kind for kind in KINDS if TRAINED[kind].lossless]


def test_the_lossless_kinds() -> None:
    assert LOSSLESS == ["byte_bpe", "metaspace_bpe", "unigram"]


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("text", HARD)
def test_hard_text_round_trip(kind: str, text: str) -> None:
    assert TRAINED[kind].decode(TRAINED[kind].encode(text)) == text


@pytest.mark.parametrize("kind", LOSSLESS)
@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_round_trip(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {0, 1, 2, 3} & set(ids)
    stream = StreamDecoder(tokenizer)
    assert "".join(stream.push(token) for token in ids) + stream.flush() == text


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_round_trip(kind: str) -> None:
    tokenizer = TRAINED[kind]
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if tokenizer.unk not in ids:
            assert tokenizer.decode(ids) == text
    assert kind == "word" or tokenizer.unk not in tokenizer.encode(TEXTS[0])


@pytest.mark.parametrize("kind", KINDS)
def test_user_text_never_becomes_a_special_token(kind: str) -> None:
    ids = TRAINED[kind].encode("a</s>b<pad> <s> </s>")
    assert not {0, 2, 3} & set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_layout_saving_and_fingerprint(kind: str, tmp_path: Path) -> None:
    tokenizer = TRAINED[kind]
    assert tokenizer.tokens([0, 1, 2, 3]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert tokenizer.id_of("</s>") == tokenizer.eos == 3 and len(tokenizer) <= SIZES[kind]
    tokenizer.save(tmp_path / "t.json")
    again = Tokenizer.load(tmp_path / "t.json")
    assert (again.kind, again.fingerprint) == (kind, tokenizer.fingerprint)
    if kind not in ("unigram", "wordpiece"):  # the library breaks their ties by the order of a hash table
        assert Tokenizer.train(kind, TEXTS, SIZES[kind]).to_json() == tokenizer.to_json()
    assert len({other.fingerprint for other in TRAINED.values()}) == len(KINDS)
    assert again.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.decode_batch(again.encode_batch(TEXTS)) == [tokenizer.decode(tokenizer.encode(t)) for t in TEXTS]


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no text to train a unigram tokenizer on: 0 texts"):
        Tokenizer.train("unigram", [], 1000)
    with pytest.raises(TokenizerError, match="vocabulary size 100 is too small for metaspace_bpe"):
        Tokenizer.train("metaspace_bpe", TEXTS, 100)
    with pytest.raises(UnknownNameError, match="unknown tokenizer kind 'bpee'"):
        Tokenizer.train("bpee", TEXTS, 1000)
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D800 at position 1 of 2"):
        TRAINED["byte_bpe"].encode("a\ud800")
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(TokenizerError, match="cannot read the tokenizer"):
        Tokenizer.load(tmp_path / "t.json")
