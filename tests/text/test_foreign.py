"""Tokenizers rebuilt from a checkpoint's files give the ids of their own libraries."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from weft.errors import TokenizerError
from weft.text import Tokenizer
from weft.text.foreign import read_tokenizer, special_ids
from weft.text.sentencepiece import parse

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("WEFT_SHARED", ROOT.parent / "shared")) / "data" / "tokenizers"
TEXTS = [
    "", " ", "   ", "Hello world! Das ist ein Test.", "  many   spaces  ", "\ttabs\tand\nlines\r\n\n ends ",
    "👨‍👩‍👧 family 🇩🇪 flags ☺️ 😀😀", "e\u0301 a\u0302\u0301 \u1112\u1161\u11ab か\u3099", "مرحبا بالعالم",
    "中文字符，测试。日本語テスト", "1234567 3.14 1,000", "x" * 300,
    "def f(x):\n    return x + 1  # comment",
    "</s> <unk> <s> <pad> <mask> [CLS] [MASK] [SEP] <|endoftext|> <extra_id_0> <0x41>",
    "\x00a\x01b\x7fc\u200bd\ufeffe\u00adf", "ﬁne ½ Ⅷ ①②③ ａｂｃ ～ …", "▁lower▁one", "don't I'll we've HE'S",
]
ASCII = st.text(st.characters(max_codepoint=0x7F), max_size=60)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NO_MARKS = st.text(st.characters(exclude_categories=["Cs", "M"]), max_size=40).map(
    lambda text: unicodedata.normalize("NFC", text.replace("\uff9e", "").replace("\uff9f", "").replace("\u0344", "")))
"""Without what the library's reading of SentencePiece's character map gets wrong (weft.text.rebuild)."""
CHANCE = random.Random(0)
NAMES = ["".join(CHANCE.choice(("ba", "ri", "ton", "el", "shu", "kem", "o", "ist")) for _ in range(CHANCE.randint(1, 4)))
         for _ in range(300)]
CORPUS = [f"{name} {n}: the quick brown fox (jumps) over {name}s, lazy dog #{n}! naïve déjà <b>{{x}}</b> für 東京 ok."
          for n, name in enumerate(NAMES)]


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the shared data has no {path}")
    return path


def fill(folder: Path, files: dict[str, Path | str | bytes], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copy(content, folder / name)
        else:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def theirs(folder: Path, name: str) -> Callable[[str], list[int]]:
    """Ids of text that is only text."""
    tokenizer = getattr(transformers, name).from_pretrained(folder)
    return lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def same(ours: Tokenizer, reference: Callable[[str], list[int]], texts: list[str] = TEXTS) -> None:
    for text in texts:
        assert ours.encode(text) == reference(text), repr(text)


def same_cut(ours: Tokenizer, processor: Any, text: str) -> None:
    """The same ids, or others that are worth the same: there, 32-bit sums choose."""
    mine, want = ours.encode(text), processor.encode(text)
    if mine != want:
        worth = [sum(map(processor.get_score, ids)) for ids in (mine, want)]
        assert worth[0] == pytest.approx(worth[1], abs=1e-5), (text, ours.tokens(mine), ours.tokens(want))
        assert "".join(ours.tokens(mine)) == "".join(ours.tokens(want))


def reopened(tokenizer: Tokenizer) -> Tokenizer:
    """As a bundle opens it."""
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.fingerprint == tokenizer.fingerprint
    return again


# ---------------------------------------------------------------- WordPiece


WORDPIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.,!?()[]<>#'é東京中文",
              *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789é"), "hello", "world", "##ing", "test", "Hello"]


@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}, {"tokenize_chinese_chars": False},
                                    {"strip_accents": False}, {"do_lower_case": False, "strip_accents": True}])
def test_wordpiece(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = fill(tmp_path, {"vocab.txt": "\n".join(WORDPIECES) + "\n"}, tokenizer_class="BertTokenizer", **config)
    ours = reopened(read_tokenizer(folder))
    same(ours, theirs(folder, "BertTokenizer"))
    assert ours.around == ((2,), (3,))
    assert special_ids(folder, ours)["mask_token"] == 4
    assert 4 not in ours.encode("[MASK]")


def test_wordpiece_of_bert() -> None:
    """A folder of vocab.txt and nothing else, as old checkpoints are."""
    path = shared("bert-base-uncased/vocab.txt")
    ours = read_tokenizer(path.parent)
    reference = theirs(path.parent, "BertTokenizer")
    same(ours, reference)
    assert len(ours) == 30522 and ours.around == ((101,), (102,))

    @settings(max_examples=200, deadline=None)
    @given(ANY)
    def check(text: str) -> None:
        assert ours.encode(text) == reference(text)

    check()


# ---------------------------------------------------------------- byte-level BPE


def small_bytes(specials: list[str]) -> dict[str, Path | str | bytes]:
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("l", "l"), ("e", "ll"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or")]
    pieces = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    return {"vocab.json": json.dumps({piece: index for index, piece in enumerate(pieces)}),
            "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)}


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.mark.parametrize(("name", "specials", "config", "around"), [
    ("GPT2Tokenizer", ["<|endoftext|>"], {}, ((), ())),
    ("GPT2Tokenizer", ["<|endoftext|>"], {"add_prefix_space": True}, ((), ())),
    ("RobertaTokenizer", ROBERTA, {}, ((0,), (2,))),
    ("BartTokenizer", ROBERTA, {"add_prefix_space": True}, ((0,), (2,))),
])
def test_byte_bpe(tmp_path: Path, name: str, specials: list[str], config: dict[str, Any], around: Any) -> None:
    folder = fill(tmp_path, small_bytes(specials), tokenizer_class=name, **config)
    ours = reopened(read_tokenizer(folder))
    same(ours, theirs(folder, name))
    assert ours.around == around
    assert all(ours.decode(ours.encode(text)) == text for text in TEXTS) or config
    assert special_ids(folder, ours).get("mask_token") == (4 if around[0] else None)
    tokenizer = getattr(transformers, name).from_pretrained(folder)
    assert tokenizer("the", "well").input_ids == ours._hf.encode("the", "well").ids


def test_byte_bpe_that_begins_with_a_special_token(tmp_path: Path) -> None:
    folder = fill(tmp_path, small_bytes(["</s>"]), tokenizer_class="GPT2Tokenizer", add_bos_token=True, bos_token="</s>")
    assert read_tokenizer(folder).around == ((0,), ())


def test_byte_bpe_of_gpt2(tmp_path: Path) -> None:
    folder = fill(tmp_path / "files", {"vocab.json": shared("gpt2/encoder.json"), "merges.txt": shared("gpt2/vocab.bpe")})
    ours = read_tokenizer(folder)
    reference = theirs(folder, "GPT2Tokenizer")
    same(ours, reference)
    assert ours.lossless

    @settings(max_examples=200, deadline=None)
    @given(ANY)
    def check(text: str) -> None:
        assert ours.encode(text) == reference(text)
        assert ours.decode(ours.encode(text)) == text

    check()


@pytest.mark.parametrize("name", ["phi3", "gpt2"])
def test_tokenizer_json(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path, {"tokenizer.json": shared(f"{name}/hf_tokenizer.json")})
    ours = read_tokenizer(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    plain = [text for text in TEXTS if "</s>" not in text]  # its </s> is an ordinary added token
    same(ours, lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), plain)


# ---------------------------------------------------------------- SentencePiece


def trained(**options: Any) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=out, minloglevel=2,
                                             num_threads=1, **options)
    return out.getvalue()


UNIGRAM = {"vocab_size": 180, "model_type": "unigram"}
BPE = {"vocab_size": 500, "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
       "remove_extra_whitespaces": False}
KINDS: dict[str, dict[str, Any]] = {
    "unigram": UNIGRAM,
    "unigram_bytes": {**UNIGRAM, "byte_fallback": True, "vocab_size": 440},
    "unigram_identity": {**UNIGRAM, "normalization_rule_name": "identity", "add_dummy_prefix": False},
    "unigram_folded": {**UNIGRAM, "normalization_rule_name": "nmt_nfkc_cf", "remove_extra_whitespaces": False},
    "unigram_symbols": {**UNIGRAM, "user_defined_symbols": ["<sep>", "東京都"], "control_symbols": ["<ctl>"]},
    "unigram_t5": {**UNIGRAM, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "bpe": BPE,
    "bpe_normalised": {"vocab_size": 240, "model_type": "bpe"},
    "bpe_symbols": {**BPE, "add_dummy_prefix": False, "user_defined_symbols": ["<sep>", "\n\n"]},
}


@pytest.fixture(scope="module", name="models")
def _models() -> Callable[[str], bytes]:
    made: dict[str, bytes] = {}

    def make(kind: str) -> bytes:
        if kind not in made:
            made[kind] = trained(**KINDS[kind])
        return made[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_sentencepiece(tmp_path: Path, models: Callable[[str], bytes], kind: str) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=models(kind))
    ours = reopened(read_tokenizer(fill(tmp_path, {"tokenizer.model": models(kind)})))
    texts = [*TEXTS, *CORPUS[:3], "a<sep>b <sep> c", "x\n\ny\n\n\nz", "<ctl> 東京都 a"]
    for text in texts:
        same_cut(ours, processor, text)
    assert len(ours) == processor.get_piece_size() and ours.around == ((), ())
    for text in CORPUS[:3]:
        assert ours.decode(ours.encode(text)) == processor.decode(processor.encode(text))

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(NO_MARKS, ASCII, st.lists(st.sampled_from([p.text for p in parse(models(kind)).pieces]), max_size=12)
                     .map("".join)))
    def check(text: str) -> None:
        same_cut(ours, processor, text)

    check()


def test_bpe_with_bytes_gives_every_text_back(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    ours = read_tokenizer(fill(tmp_path, {"tokenizer.model": models("bpe")}))

    @settings(max_examples=150, deadline=None)
    @given(ANY)
    def check(text: str) -> None:
        text = text.replace("\u2581", "")  # stands for a space
        assert ours.decode(ours.encode(text)) == text

    check()


@pytest.mark.parametrize("name", ["bergamot_spm/vocab.ende.spm", "sentencepiece_test/test_model.model"])
def test_sentencepiece_of_real_models(tmp_path: Path, name: str) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(shared(name)))
    ours = reopened(read_tokenizer(fill(tmp_path, {"spiece.model": shared(name)})))
    same(ours, processor.encode)

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(NO_MARKS, ASCII))
    def check(text: str) -> None:
        same_cut(ours, processor, text)

    check()


def test_t5(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    folder = fill(tmp_path, {"spiece.model": models("unigram_t5")}, tokenizer_class="T5Tokenizer")
    ours = reopened(read_tokenizer(folder))
    size = UNIGRAM["vocab_size"]
    assert len(ours) == size + 100 and ours.around == ((), (1,))
    assert ours.id_of("<extra_id_99>") == size and ours.id_of("<extra_id_0>") == size + 99
    assert max(ours.encode("<extra_id_0> and <extra_id_7>")) < size
    tokenizer = transformers.T5Tokenizer.from_pretrained(folder)
    for text in [*CORPUS[:5], "house  and river ", "中 東京"]:
        assert list(ours.encode(text)) + [1] == tokenizer.encode(text)
    few = fill(tmp_path / "few", {"spiece.model": models("unigram_t5")}, tokenizer_class="T5TokenizerFast", extra_ids=3)
    assert len(read_tokenizer(few)) == size + 3


@pytest.mark.parametrize(("config", "around"), [({}, ((1,), ())), ({"add_eos_token": True}, ((1,), (2,))),
                                                ({"add_bos_token": False}, ((), ()))])
def test_llama(tmp_path: Path, models: Callable[[str], bytes], config: dict[str, Any], around: Any) -> None:
    folder = fill(tmp_path, {"tokenizer.model": models("bpe")}, tokenizer_class="LlamaTokenizer", **config)
    ours = read_tokenizer(folder)
    assert ours.around == around
    reference = theirs(folder, "LlamaTokenizer")
    same(ours, reference, [text for text in [*TEXTS, *CORPUS[:5]] if text[:1] not in (" ", "\u2581") and "<" not in text])
    assert special_ids(folder, ours) == {"unk_token": 0, "bos_token": 1, "eos_token": 2}


def test_xlm_roberta(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    folder = fill(tmp_path, {"sentencepiece.bpe.model": models("unigram")}, tokenizer_class="XLMRobertaTokenizer")
    ours = read_tokenizer(folder)
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    assert ours.around == ((0,), (2,)) and special_ids(folder, ours)["mask_token"] == len(ours) - 1
    for text in [*CORPUS[:5], "house  and river "]:
        assert [0, *ours.encode(text), 2] == tokenizer.encode(text)


def test_class_from_the_model_type(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    folder = fill(tmp_path, {"spiece.model": models("unigram_t5"), "config.json": '{"model_type": "t5"}'})
    assert read_tokenizer(folder).around == ((), (1,))


def test_added_tokens(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    size = BPE["vocab_size"]
    added = {str(size): {"content": "<|user|>", "special": True, "normalized": False},
             "1": {"content": "<s>", "special": True, "normalized": False}}
    folder = fill(tmp_path / "new", {"tokenizer.model": models("bpe")}, tokenizer_class="LlamaTokenizer",
                  added_tokens_decoder=added)
    ours = read_tokenizer(folder)
    assert ours.id_of("<|user|>") == size and size not in ours.encode("<|user|>")
    older = fill(tmp_path / "old", {**small_bytes(["<|endoftext|>"]), "added_tokens.json": '{"<one>": 265, "<two>": 266}'})
    assert read_tokenizer(older).id_of("<two>") == 266
    (older / "added_tokens.json").write_text('{"<one>": 300}')
    with pytest.raises(TokenizerError, match="should have id 300"):
        read_tokenizer(older)


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(("files", "config", "message"), [
    ({}, {}, "looked for tokenizer.json, vocab.json with merges.txt, vocab.txt, spiece.model"),
    ({"source.spm": b"", "target.spm": b"", "vocab.json": "{}"}, {}, "source.spm is no SentencePiece model"),
    ({"tokenizer.json": "{}"}, {}, "tokenizer.json"),
    ({"tokenizer.json": "[1, 2"}, {}, "tokenizer.json"),
    ({"vocab.json": "[1]", "merges.txt": ""}, {}, r"vocab.json should hold a JSON object"),
    ({"vocab.json": '{"a": "b"}', "merges.txt": ""}, {}, r"vocab.json is no vocabulary"),
    ({"vocab.json": '{"a": 0, "b": 2}', "merges.txt": ""}, {}, r"vocab.json is no vocabulary"),
    ({"vocab.json": '{"a": 0', "merges.txt": ""}, {}, r"cannot read .*vocab.json"),
    ({"vocab.json": '{"a": 0, "b": 1}', "merges.txt": "#version\na b\n"}, {}, r"merges.txt, line 2: 'ab' is not in vocab"),
    ({"vocab.json": '{"a": 0}', "merges.txt": "a b c\n"}, {}, r"merges.txt, line 1"),
    ({"vocab.txt": "a\nb\n"}, {}, r"vocab.txt is no vocabulary"),
    ({"vocab.txt": "[UNK]\n[UNK]\n"}, {}, r"vocab.txt is no vocabulary"),
    ({"vocab.txt": "[UNK]\na\n"}, {}, r"lacks \[CLS\] and \[SEP\]"),
    ({"vocab.txt": b"\xff\xfe"}, {}, r"cannot read .*vocab.txt"),
    ({"vocab.txt": "[UNK]"}, {"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapanese, which Weft does not build"),
    ({"vocab.txt": "[UNK]", "config.json": '{"model_type": "mpnet"}'}, {}, "mpnet, which Weft does not build"),
    ({"vocab.txt": "[UNK]", "tokenizer_config.json": "7"}, {}, "tokenizer_config.json should hold"),
    ({"vocab.txt": "[UNK]"}, {"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder in .* is damaged"),
    ({"spiece.model": b""}, {}, "spiece.model is no SentencePiece model"),
    ({"spiece.model": b"\x0a\xff"}, {}, "spiece.model is no SentencePiece model"),
    ({"tokenizer.model": b"not a protobuf at all"}, {}, "tokenizer.model is no SentencePiece model"),
])
def test_damaged_files(tmp_path: Path, files: Any, config: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(fill(tmp_path, files, **config))


@pytest.mark.parametrize(("options", "message"), [
    ({**UNIGRAM, "treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix"),
    ({"vocab_size": 60, "model_type": "char"}, "model_type 4"),
    ({**BPE, "user_defined_symbols": ["<sep>"]}, "user-defined pieces in a BPE model"),
])
def test_models_that_cannot_be_rebuilt(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(fill(tmp_path, {"spiece.model": trained(**options)}))


def test_only_tokenizer_errors_come_out_of_damaged_models(tmp_path: Path, models: Callable[[str], bytes]) -> None:
    whole = {kind: models(kind) for kind in ("unigram_symbols", "bpe_normalised")}

    def tried(data: bytes) -> None:
        try:
            tokenizer = read_tokenizer(fill(tmp_path, {"spiece.model": data}))
            tokenizer.encode("some text\u0301 ﬁ <sep> 東京都 \U0001f600")
        except TokenizerError as error:
            assert "spiece.model" in str(error)

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=200))
    def anything(data: bytes) -> None:
        tried(data)

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(sorted(whole)), st.data())
    def altered(kind: str, data: Any) -> None:
        content = bytearray(whole[kind])
        for _ in range(data.draw(st.integers(0, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        tried(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))

    anything()
    altered()
