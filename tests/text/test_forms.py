"""What each id adds to a text, put together, is what the tokenizer makes of the ids: for every kind, and imported ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tests.bundles import tokenizer as words
from tests.test_chat import KINDS, make_tokenizer
from tests.text.test_foreign import CORPUS, shared
from tests.text.test_tokenizer import TRAINED
from weft.errors import TokenizerError
from weft.text import Tokenizer
from weft.text.foreign import read_tokenizer
from weft.text.forms import Forms


def made(model: Any, decoder: Any, trainer: Any, normalizer: Any = None) -> Tokenizer:
    hf = tokenizers.Tokenizer(model)
    hf.pre_tokenizer, hf.decoder = pre_tokenizers.BertPreTokenizer(), decoder
    if normalizer is not None:
        hf.normalizer = normalizer
    hf.train_from_iterator(CORPUS, trainer)
    return Tokenizer(hf)


def openai_gpt() -> Tokenizer:
    return made(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), decoders.BPEDecoder(),
                trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))


def bert() -> Tokenizer:
    return made(models.WordPiece(unk_token="[UNK]"), decoders.WordPiece(),
                trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False),
                normalizers.BertNormalizer(lowercase=True))


def marian() -> Tokenizer:
    """One that drops all spaces at both ends of a text."""
    hf = make_tokenizer("unigram")
    hf.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(),
                                    decoders.Replace(tokenizers.Regex(r"\A\s+|\s+\z"), "")])
    return Tokenizer(hf)


def llama2() -> Tokenizer:
    hf = make_tokenizer("prepended")
    hf.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                    decoders.Strip(" ", 1, 0)])
    return Tokenizer(hf)


TOKENIZERS = {**TRAINED, **{f"imported-{kind}": Tokenizer(make_tokenizer(kind)) for kind in KINDS}, "no-decoder": words(),
              "openai-gpt": openai_gpt(), "bert": bert(), "marian": marian(), "llama2": llama2()}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_forms_put_together_are_the_text(name: str) -> None:
    tokenizer, chance, compared = TOKENIZERS[name], random.Random(0), 0
    forms = Forms(tokenizer)
    usable = [token for token, data in enumerate(forms.inside) if data]
    assert len(usable) > 0.9 * (len(tokenizer) - 20)
    whole = [token for token in usable if "�" not in forms.inside[token].decode("utf-8", "replace")]
    for turn in range(400):
        ids = chance.choices(usable if turn % 2 else whole, k=chance.randint(1, 7))
        said, want = forms.added(ids).decode("utf-8", "replace"), tokenizer.decode(ids)
        if name == "marian":
            said = said.rstrip()
        if "�" not in said + want:
            compared += 1
            assert said == want, tokenizer.tokens(ids)
            cut = chance.randrange(len(ids))
            if name != "marian":
                assert forms.added(ids[:cut]) + forms.added(ids[cut:], ids[:cut]) == forms.added(ids)
    assert compared > 100


@pytest.mark.parametrize("path", ["gpt2/hf_tokenizer.json", "phi3/hf_tokenizer.json", "bert-base-uncased/vocab.txt"])
def test_published_tokenizers(path: str) -> None:
    file = shared(path)
    tokenizer = Tokenizer.load(file) if file.suffix == ".json" else read_tokenizer(file.parent)
    forms, chance = Forms(tokenizer), random.Random(1)
    whole = [token for token, data in enumerate(forms.inside) if data and "�" not in data.decode("utf-8", "replace")]
    assert len(whole) > 0.95 * len(tokenizer)
    for _ in range(3000):
        ids = chance.choices(whole, k=chance.randint(1, 6))
        assert forms.added(ids).decode() == tokenizer.decode(ids), tokenizer.tokens(ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_add_nothing(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    forms = Forms(tokenizer)
    special = {index for index, token in tokenizer.library.get_added_tokens_decoder().items() if token.special}
    assert special and all(forms.inside[token] == forms.first[token] == b"" for token in special)


def test_a_decoder_that_says_nothing_is_refused() -> None:
    hf = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    hf.decoder = decoders.Replace(tokenizers.Regex("."), "")
    with pytest.raises(TokenizerError, match=r"no token of this tokenizer has a text of its own.*Replace"):
        Forms(Tokenizer(hf))
