"""OPUS-MT's tokenizer files, source.spm, target.spm and vocab.json, give the ids and texts of MarianTokenizer."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.marian import random_marian
from tests.text.test_foreign import ASCII, CORPUS, NO_MARKS, TEXTS, fill, reopened, shared
from weft.convert import import_checkpoint
from weft.errors import TokenizerError
from weft.text import Tokenizer
from weft.text.foreign import read_tokenizer, special_ids
from weft.text.sentencepiece import parse

CODES = [">>fra<<", ">>deu<<", ">>zho_Hant<<"]
GERMAN = [f"Der schnelle Fuchs Nr. {n} größer über 東 müßig 火山 die Häuser {line[:20].lower()} Straße." for n, line in
          enumerate(CORPUS)]


def trained(lines: list[str], **options: Any) -> bytes:
    out = io.BytesIO()
    chosen = {"vocab_size": 170, "model_type": "unigram", "character_coverage": 1.0} | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, minloglevel=2, num_threads=1,
                                             **chosen)
    return out.getvalue()


def numbered(source: bytes, target: bytes, codes: list[str], left_out: frozenset[str] = frozenset()) -> dict[str, int]:
    """A vocabulary in an order of its own, as marian-vocab makes it: the most frequent first, <pad> behind all."""
    both = {piece.text for data in (source, target) for piece in parse(data).pieces} - {"<s>", "</s>", "<unk>"} - left_out
    pieces = sorted(both)
    random.Random(1).shuffle(pieces)
    return {token: index for index, token in enumerate(["</s>", "<unk>", *codes, *pieces, "<pad>"])}


def checkpoint(folder: Path, source: bytes, target: bytes, codes: list[str] = CODES, left_out: frozenset[str] = frozenset(),
               **config: Any) -> Path:
    vocabulary = json.dumps(numbered(source, target, codes, left_out))
    return fill(folder, {"source.spm": source, "target.spm": target, "vocab.json": vocabulary},
                tokenizer_class="MarianTokenizer", **config)


@pytest.fixture(scope="module", name="models")
def _models() -> tuple[bytes, bytes]:
    return trained([line.replace("東京", "") for line in CORPUS]), trained(GERMAN)


def same_ids(ours: Tokenizer, theirs: Any, text: str) -> None:
    """The same, or of two cuts that are worth the same the other one: there, 32-bit sums choose."""
    want = theirs.encode(text, split_special_tokens=True)
    mine = [*ours.encode(text), theirs.eos_token_id]
    if mine != want:
        worth = [sum(theirs.spm_source.get_score(theirs.spm_source.piece_to_id(ours.tokens([token])[0])) for token in row)
                 for row in (mine, want)]
        assert worth[0] == pytest.approx(worth[1], abs=1e-5), (text, ours.tokens(mine), ours.tokens(want))
        assert "".join(ours.tokens(mine)) == "".join(ours.tokens(want))


HARD = [*TEXTS, *CORPUS[:4], *GERMAN[:4], ">>fra<< Hello", ">>fra<<Hello", " >>fra<< Hello", "Hello >>fra<<", ">>deu<<",
        ">>fra<< >>deu<< x", ">>zho_Hant<<  a", ">>fra", ">> fra << x"[3:], "東", "東東", "a東b", "a東京b", "火山 火 山 火山東",
        "東\u4e00", "ж東", "the ▁Häuser", "\ufffd東 \ue000", "<pad></s>"]


def test_ids_and_texts(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    folder = checkpoint(tmp_path, *models)
    ours, theirs = reopened(read_tokenizer(folder)), transformers.MarianTokenizer.from_pretrained(folder)
    assert len(ours) == len(theirs.encoder) and ours.around == ((), (0,))
    assert special_ids(folder, ours) == {"eos_token": 0, "unk_token": 1, "pad_token": len(ours) - 1}
    assert all(ours.id_of(token) == index for token, index in theirs.encoder.items())
    written = {ours.tokens(ours.encode(text)[-1:])[0] for text in ("東", "a 火", "the 東")}
    assert written == {"東", "火"}  # of the target only, and written by an English text nevertheless
    for text in HARD:
        same_ids(ours, theirs, text)
    chance = random.Random(3)
    plain = [index for token, index in theirs.encoder.items() if token not in CODES]
    for _ in range(300):
        ids = [chance.choice(plain) for _ in range(chance.randint(0, 12))]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), ours.tokens(ids)

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(NO_MARKS, ASCII, st.lists(st.sampled_from(sorted(set(theirs.encoder) - set(CODES)) + ["東京", " ", "ж"]),
                                               max_size=12).map("".join)))
    def check(text: str) -> None:
        if not text.startswith(">>"):  # >>anything<< is unknown there, and text here
            same_ids(ours, theirs, text)

    check()


def test_language_tokens_stand_at_the_start_only(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    ours = reopened(read_tokenizer(checkpoint(tmp_path, *models)))
    assert ours.openings == set(CODES)
    assert ours.encode(">>fra<< a fox") == [2, *ours.encode("a fox")]
    assert ours.encode_batch(["a", ">>deu<<a"]) == [ours.encode("a"), [3, *ours.encode("a")]]
    for text in ("a >>fra<<", " >>fra<< a", ">>fra<<>>deu<<", ">>xxx<< a", "</s> a", "<pad>"):
        assert not {0, 1, len(ours) - 1, *range(2, 5)} & set(ours.encode(text)[1 if text.startswith(">>fra") else 0 :]), text


def test_other_tokenizers_have_no_openings(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    added = {"180": {"content": ">>TITLE<<", "special": True}}
    folder = fill(tmp_path, {"spiece.model": models[0]}, tokenizer_class="T5Tokenizer", extra_ids=10,
                  added_tokens_decoder=added)
    ours = read_tokenizer(folder)
    assert ours.id_of(">>TITLE<<") == 180 and 180 not in ours.encode(">>TITLE<< a") and not ours.openings


def test_pieces_that_the_vocabulary_lacks(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    """A character is unknown, each by itself, as there; a longer piece is cut up, where Marian reads it as unknown."""
    line = "ri 3: the quick fox"
    long = max(sentencepiece.SentencePieceProcessor(model_proto=models[0]).encode(line, out_type=str), key=len)
    folder = checkpoint(tmp_path, *models, left_out=frozenset({"#", long}))
    ours, theirs = read_tokenizer(folder), transformers.MarianTokenizer.from_pretrained(folder)
    for text in ("a#b", "##", "a ## ж # b", "#東#", "#"):
        same_ids(ours, theirs, text)
    assert len(long) > 1 and 1 not in ours.encode(line) and 1 in theirs.encode(line)
    assert ours.decode(ours.encode(line)) == line


def test_of_a_real_model(tmp_path: Path) -> None:
    data = shared("bergamot_spm/vocab.ende.spm").read_bytes()
    folder = checkpoint(tmp_path, data, data, [])
    ours, theirs = reopened(read_tokenizer(folder)), transformers.MarianTokenizer.from_pretrained(folder)
    for text in HARD:
        if not text.startswith(">>"):
            same_ids(ours, theirs, text)
            ids = ours.encode(text)
            assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_with_bytes(tmp_path: Path) -> None:
    data = trained(CORPUS, vocab_size=440, byte_fallback=True)
    folder = checkpoint(tmp_path, data, data)
    ours, theirs = reopened(read_tokenizer(folder)), transformers.MarianTokenizer.from_pretrained(folder)
    for text in HARD:
        same_ids(ours, theirs, text)
        ids = ours.encode(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True) or ours.opening(text)


@pytest.mark.parametrize(("options", "config", "message"), [
    ({}, {"separate_vocabs": True}, "separate_vocabs = true"),
    ({}, {"unk_token": "<what>"}, "vocab.json lacks <what>"),
    ({"model_type": "bpe"}, {}, "source.spm: model_type 2"),
    ({"treat_whitespace_as_suffix": True}, {}, "treat_whitespace_as_suffix"),
])
def test_what_is_refused(tmp_path: Path, models: tuple[bytes, bytes], options: Any, config: Any, message: str) -> None:
    source = trained(CORPUS, **options) if options else models[0]
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(checkpoint(tmp_path, source, models[1], **config))


def test_bytes_that_the_vocabulary_cannot_say(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    data = trained(CORPUS, vocab_size=440, byte_fallback=True)
    with pytest.raises(TokenizerError, match="lacks 1 of them, such as <0x41>"):
        read_tokenizer(checkpoint(tmp_path / "a", data, data, left_out=frozenset({"<0x41>"})))
    with pytest.raises(TokenizerError, match=r"falls back to bytes, but vocab\.json has"):
        read_tokenizer(checkpoint(tmp_path / "b", data, trained(GERMAN)))


def test_translates_as_transformers(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    folder = checkpoint(tmp_path / "theirs", *models)
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    size = len(theirs.encoder)
    model = random_marian(5, vocabulary=size, tied=True, special=(size - 1, 0, size - 1))
    model.save_pretrained(folder)
    ours = weft.load(import_checkpoint(folder, tmp_path / "ours").path)
    for text in [*CORPUS[:3], ">>fra<< the lazy fox", "a 東 fox, 京", "the the the"]:
        out = model.generate(**theirs(text, return_tensors="pt"), max_new_tokens=12, num_beams=1, do_sample=False)
        want = theirs.decode(out[0], skip_special_tokens=True)
        assert ours.translate(text, beams=1, max_new_tokens=12) == want and want
    assert ours.config.special.suffix == (0,)


def test_every_piece_of_a_long_text_says_the_language(tmp_path: Path, models: tuple[bytes, bytes]) -> None:
    folder = checkpoint(tmp_path / "theirs", *models)
    random_marian(5, vocabulary=(size := len(read_tokenizer(folder))), special=(size - 1, 0, size - 1)).save_pretrained(folder)
    ours = weft.load(import_checkpoint(folder, tmp_path / "ours").path)
    pieces = ours._pieces(0, ">>deu<< " + " ".join(CORPUS[:5]), "split")
    assert len(pieces) > 1 and all(piece[0] == 3 and piece[-1] == 0 and len(piece) <= 128 for piece in pieces)
