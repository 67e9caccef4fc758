"""Decoding id by id, in a forked process, and from small corners: what a round trip of whole texts does not reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.test_tokenizer import HARD, SIZES, TEXTS, TRAINED
from weft.text import StreamDecoder, Tokenizer
from weft.text.recipes import KINDS

KNOWN = "".join(sorted(set("".join(TEXTS))))
FORK = """
import os
from weft.text import Tokenizer
texts = ["hello world, foo and bar"] * 500
tokenizer = Tokenizer.train("byte_bpe", texts, 300)
expected = tokenizer.encode_batch(texts)
child = os.fork()
if child == 0:
    os._exit(0 if tokenizer.encode_batch(texts) == expected else 1)
assert os.waitpid(child, 0)[1] == 0 and "TOKENIZERS_PARALLELISM" not in os.environ
"""


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    stream = StreamDecoder(tokenizer)
    return "".join([stream.push(token) for token in ids]) + stream.flush()


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_ids_stream_to_what_they_decode_to(kind: str, data: st.DataObject) -> None:
    """Also bytes that are no UTF-8, special ids in the middle, and ids past the vocabulary."""
    tokenizer = TRAINED[kind]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 2), max_size=20))
    assert streamed(tokenizer, ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["metaspace_bpe", "unigram"])
def test_a_character_comes_with_its_last_byte_and_stays(kind: str) -> None:
    tokenizer = TRAINED[kind]
    stream = StreamDecoder(tokenizer)
    byte_ids = [tokenizer.id_of(f"<0x{byte:02X}>") for byte in "é€".encode() + b"\xff"]
    assert [stream.push(token) for token in byte_ids if token is not None] == ["", "é", "", "", "€", "\ufffd"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HARD)
def test_the_saved_file_decodes_alike_elsewhere(kind: str, text: str) -> None:
    """tokenizer.json opened by the library alone."""
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizers.Tokenizer.from_str(tokenizer.to_json()).decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["wordpiece", "character"])
@given(st.text(KNOWN, max_size=40))
@settings(max_examples=100, deadline=None)
def test_text_of_known_characters_is_exact(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.unk not in ids and tokenizer.decode(ids) == text


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_words_are_exact_where_none_is_unknown(text: str) -> None:
    tokenizer = TRAINED["word"]
    ids = tokenizer.encode(text)
    assert tokenizer.unk in ids or tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])
def test_training_again_gives_the_same_file(kind: str) -> None:
    texts = [*TEXTS, *HARD]
    assert len({Tokenizer.train(kind, texts, 400).to_json() for _ in range(4)}) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a", "   ", "\x00", "漢字", "]^-\\[ab&&~~||", "a" * 500])
def test_the_smallest_vocabularies_keep_their_limit(kind: str, text: str) -> None:
    size = 262 if SIZES[kind] > 256 else 6
    tokenizer = Tokenizer.train(kind, [text], size)
    assert len(tokenizer) <= size
    assert not tokenizer.lossless or tokenizer.decode(tokenizer.encode(text)) == text


def test_lower_case_is_not_lossless_and_a_foreign_file_cuts_nothing() -> None:
    lower = Tokenizer.train("metaspace_bpe", TEXTS, 330, lowercase=True)
    assert not lower.lossless and lower.decode(lower.encode("The CAT")) == "the cat"
    file = json.loads(TRAINED["byte_bpe"].to_json())
    file["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    opened = Tokenizer.from_json(json.dumps(file))
    assert opened.encode(TEXTS[0]) == TRAINED["byte_bpe"].encode(TEXTS[0])


def test_an_imported_tokenizer_streams_through_the_library() -> None:
    file = json.loads(TRAINED["byte_bpe"].to_json())
    file["pre_tokenizer"]["trim_offsets"] = not file["pre_tokenizer"]["trim_offsets"]
    opened = Tokenizer.from_json(json.dumps(file))
    assert opened.kind == "imported" and not opened.lossless
    for text in HARD:
        assert streamed(opened, opened.encode(text)) == text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_encodes_and_does_not_hang() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run([sys.executable, "-c", FORK], env=environment, timeout=20, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_needs_no_torch() -> None:
    code = "import sys, weft.text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 0
