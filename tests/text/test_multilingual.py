"""Tokenizers of mBART, mBART-50, NLLB, M2M100 and Pegasus from SentencePiece files: the ids of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.bundles import checkpoint
from tests.text.test_foreign import ASCII, CORPUS, NO_MARKS, TEXTS, fill, reopened, same_cut, shared, trained
from weft.convert import import_checkpoint
from weft.errors import TokenizerError, UnknownNameError, UsageError
from weft.text import Tokenizer
from weft.text.foreign import read_tokenizer, special_ids, special_roles
from weft.text.multilingual import M2M100, MBART, MBART50, NLLB

SIZE = 180
UNIGRAM = {"vocab_size": SIZE, "model_type": "unigram"}
PEGASUS = {**UNIGRAM, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
BPE = {"vocab_size": SIZE, "model_type": "bpe", "character_coverage": 1.0}
NAME = "sentencepiece.bpe.model"
PLAIN = [*CORPUS[:6], "the lazy dog", "ri ton el: 3!", "house  and river"]


class Shifted:
    """A SentencePiece processor whose ids are those of the family: what is read as unknown stays so."""

    def __init__(self, data: bytes, ours: Tokenizer, unknown: int) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        self._ids = [unknown if self._processor.is_unknown(index) else ours.id_of(self._processor.id_to_piece(index))
                     for index in range(self._processor.get_piece_size())]
        self._back = {index: own for own, index in enumerate(self._ids)}

    def encode(self, text: str) -> list[int | None]:
        return [self._ids[index] for index in self._processor.encode(text)]

    def get_score(self, index: int) -> float:
        return self._processor.get_score(self._back[index])


def same_as_sentencepiece(ours: Tokenizer, data: bytes, unknown: int) -> None:
    reference = Shifted(data, ours, unknown)
    for text in TEXTS:
        same_cut(ours, reference, text)

    @settings(max_examples=100, deadline=None)
    @given(st.one_of(NO_MARKS, ASCII))
    def check(text: str) -> None:
        same_cut(ours, reference, text)

    check()


@pytest.mark.parametrize(("name", "codes", "around"), [
    ("MBart", MBART, ([], ["</s>", "en_XX"])), ("MBart50", MBART50, (["en_XX"], ["</s>"]))])
def test_mbart(tmp_path: Path, name: str, codes: list[str], around: Any) -> None:
    data = trained(**UNIGRAM)
    folder = fill(tmp_path, {NAME: data}, tokenizer_class=f"{name}Tokenizer", src_lang="en_XX", tgt_lang="ro_RO")
    ours, theirs = reopened(read_tokenizer(folder)), getattr(transformers, f"{name}Tokenizer").from_pretrained(folder)
    assert len(ours) == len(theirs) == SIZE + 1 + len(codes) + 1
    assert all(ours.id_of(token) == index for token, index in theirs.get_vocab().items())
    assert [ours.id_of(code) for code in codes] == list(range(SIZE + 1, SIZE + 1 + len(codes)))
    assert ours.around == tuple(tuple(map(ours.id_of, part)) for part in around)
    for text in PLAIN:
        assert [*ours.around[0], *ours.encode(text), *ours.around[1]] == theirs(text).input_ids
        assert ours._hf.encode(text, "a fox").ids == theirs(text, "a fox").input_ids
    roles = special_roles(folder, ours) or {}
    assert all(roles.get(f"{role}_token") == getattr(theirs, f"{role}_token") for role in ("bos", "eos", "sep", "cls", "mask"))
    same_as_sentencepiece(ours, data, 3)
    other = fill(tmp_path / "other", {NAME: data}, tokenizer_class=f"{name}Tokenizer", src_lang="de_DE")
    assert ours.id_of("de_DE") in {*read_tokenizer(other).around[0], *read_tokenizer(other).around[1]}


@pytest.mark.parametrize(("legacy", "around"), [(False, (["eng_Latn"], ["</s>"])), (True, ([], ["</s>", "eng_Latn"]))])
@pytest.mark.parametrize("options", [UNIGRAM, BPE], ids=["unigram", "bpe"])
def test_nllb(tmp_path: Path, legacy: bool, around: Any, options: dict[str, Any]) -> None:
    """Pieces as transformers has them; languages where fairseq has them, which transformers 5 does not add to such files."""
    data = trained(**options)
    folder = fill(tmp_path, {NAME: data}, tokenizer_class="NllbTokenizer", legacy_behaviour=legacy)
    ours, theirs = reopened(read_tokenizer(folder)), transformers.NllbTokenizer.from_pretrained(folder)
    assert len(ours) == SIZE + 1 + 202 + 1
    assert [ours.id_of(code) for code in NLLB] == list(range(SIZE + 1, SIZE + 203)) and ours.id_of("<mask>") == SIZE + 203
    assert [ours.id_of(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert ours.around == tuple(tuple(map(ours.id_of, part)) for part in around)
    pieces = {token: index for token, index in theirs.get_vocab().items() if index < SIZE + 1}
    assert all(ours.id_of(token) == index for token, index in pieces.items())
    if options is BPE:
        for text in PLAIN:
            assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    same_as_sentencepiece(ours, data, 3)


def m2m100(folder: Path, data: bytes, **config: Any) -> Path:
    """As fairseq makes the vocabulary: special tokens, then pieces in an order of their own."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    pieces = [processor.id_to_piece(index) for index in reversed(range(3, processor.get_piece_size()))]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece in pieces), "火", "ж"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return fill(folder, {NAME: data, "vocab.json": json.dumps(vocabulary)}, tokenizer_class="M2M100Tokenizer", **config)


@pytest.mark.parametrize("config", [{}, {"src_lang": "bg"}, {"language_codes": "wmt21", "src_lang": "de"}])
def test_m2m100(tmp_path: Path, config: dict[str, Any]) -> None:
    """Whose tokenizer in transformers is SentencePiece itself: hard texts agree too."""
    folder = m2m100(tmp_path, trained(**UNIGRAM), **config)
    ours, theirs = reopened(read_tokenizer(folder)), transformers.M2M100Tokenizer.from_pretrained(folder)
    assert [ours.id_of(token) for token in theirs.lang_token_to_id] == list(theirs.lang_token_to_id.values())
    assert ours.around == ((theirs.get_lang_id(config.get("src_lang", "en")),), (2,))

    def check(text: str) -> None:
        want = theirs.encode(text, split_special_tokens=True)
        mine = [*ours.around[0], *ours.encode(text), *ours.around[1]]
        if mine != want:  # two cuts that are worth the same
            worth = [sum(theirs.sp_model.get_score(theirs.sp_model.piece_to_id(piece)) for piece in ours.tokens(row[1:-1]))
                     for row in (mine, want)]
            assert worth[0] == pytest.approx(worth[1], abs=1e-5), (text, ours.tokens(mine), ours.tokens(want))

    for text in [*TEXTS, *PLAIN, "火", "ж火 a", "__de__ a", "a__bg__"]:
        check(text)
    for text in PLAIN:
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs(text).input_ids[1:-1])
    settings(max_examples=150, deadline=None)(given(st.one_of(NO_MARKS, ASCII))(check))()


def test_pegasus(tmp_path: Path) -> None:
    data = trained(**PEGASUS)
    folder = fill(tmp_path, {"spiece.model": data}, tokenizer_class="PegasusTokenizer")
    ours, theirs = reopened(read_tokenizer(folder)), transformers.PegasusTokenizer.from_pretrained(folder)
    assert ours.tokens(range(len(ours))) == theirs.convert_ids_to_tokens(list(range(len(theirs))))
    assert ours.around == ((), (1,)) and special_ids(folder, ours)["mask_token"] == 3
    for text in PLAIN:
        assert [*ours.encode(text), 1] == theirs(text).input_ids
    same_as_sentencepiece(ours, data, 105)
    plain = read_tokenizer(fill(tmp_path / "plain", {"spiece.model": data}, tokenizer_class="PegasusTokenizer", offset=0))
    assert len(plain) == SIZE


@pytest.mark.parametrize("name", ["MBart", "Pegasus", "M2M100", "Nllb"])
def test_with_pieces_of_a_real_model(tmp_path: Path, name: str) -> None:
    data = shared("sentencepiece_test/test_model.model").read_bytes()
    folder = m2m100(tmp_path, data) if name == "M2M100" else fill(
        tmp_path, {"spiece.model" if name == "Pegasus" else NAME: data}, tokenizer_class=f"{name}Tokenizer")
    ours = reopened(read_tokenizer(folder))
    reference = Shifted(data, ours, ours.id_of("<unk>") or 0)
    for text in TEXTS:
        if name != "M2M100" or not set(text) & {"火", "ж"}:
            same_cut(ours, reference, text)


@pytest.mark.parametrize(("files", "config", "message"), [
    ({NAME: trained(**PEGASUS)}, {"tokenizer_class": "MBartTokenizer"}, "one of fairseq's begins with <unk>, <s> and </s>"),
    ({NAME: trained(**UNIGRAM), "vocab.json": '{"a": 0}'}, {"tokenizer_class": "M2M100Tokenizer"},
     r"vocab.json lacks </s>, <pad>, <s>, <unk>"),
    ({NAME: trained(**UNIGRAM), "vocab.json": '{"a": 0}'}, {"language_codes": "other"}, "language_codes = 'other'; Weft knows"),
    ({NAME: trained(**UNIGRAM)}, {"tokenizer_class": "MBartTokenizer", "src_lang": "xx_XX"}, "the vocabulary lacks xx_XX"),
    ({"spiece.model": trained(**PEGASUS)}, {"tokenizer_class": "PegasusTokenizer", "offset": "3"}, "offset = '3' and masks"),
])
def test_what_is_refused(tmp_path: Path, files: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(fill(tmp_path, files, **config))


# ---------------------------------------------------------------- languages to translate between


@pytest.mark.parametrize(("name", "family"), [("MBart", "mbart"), ("MBart50", "mbart"), ("M2M100", "m2m100")])
def test_translates_between_languages(tmp_path: Path, name: str, family: str) -> None:
    data = trained(**UNIGRAM)
    theirs_class = getattr(transformers, f"{name}Tokenizer")
    tokens = m2m100(tmp_path / "t", data) if name == "M2M100" else fill(tmp_path / "t", {NAME: data},
                                                                         tokenizer_class=f"{name}Tokenizer")
    folder = checkpoint(tmp_path, family, vocab_size=300, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                        decoder_start_token_id=2)
    (folder / "tokenizer.json").unlink()
    for path in tokens.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    done = import_checkpoint(folder, tmp_path / "weft")
    english, german, french = ("en", "de", "fr") if name == "M2M100" else ("en_XX", "de_DE", "fr_XX")
    assert f"weft translate --from CODE --to CODE. Without --from, texts count as {english};" in done.notes[0]
    model, theirs = weft.load(done.path), transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = theirs_class.from_pretrained(tokens, src_lang=german)
    lang = tokenizer.get_lang_id(french) if name == "M2M100" else tokenizer.convert_tokens_to_ids(french)
    for text in PLAIN[-3:]:
        out = theirs.generate(**tokenizer(text, return_tensors="pt"), forced_bos_token_id=lang, max_new_tokens=8, num_beams=1,
                              do_sample=False, forced_eos_token_id=None)[0, 1:].tolist()
        (result,) = model.between(german, french).generate([text], max_new_tokens=8, beams=1)
        assert list(result.tokens) == out[: len(result.tokens)] and result.tokens[0] == lang
    assert model.between()._source("a fox") == model._source("a fox") != model.between(german)._source("a fox")
    with pytest.raises(UnknownNameError, match="unknown language 'zz'"):
        model.between(target="zz")


def test_models_of_two_languages_cannot_choose(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="This model's tokenizer has no tokens for languages"):
        weft.load(tiny_bundle).between(target="de")


def test_every_code_is_known() -> None:
    from weft.text.multilingual import language_code

    assert all(language_code(code) == code for code in (*MBART50, *NLLB))
    assert all(language_code(f"__{code}__") == code for code in M2M100)
    others = ("<s>", "</s>", "<mask>", "[CLS]", "<unk_2>", "<|en|>", "ab", "<extra_id_0>", "")
    assert not any(map(language_code, others))
