"""Options given as texts: the ids that they become say the text, and the outputs keep to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import weft
from tests.test_chat import make_model
from tests.text.chat_templates import CHATML
from tests.text.test_foreign import shared
from tests.text.test_forms import TOKENIZERS
from weft.decode.wording import Wording
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.text import Tokenizer
from weft.text.forms import Forms

WHOLE = [name for name in TOKENIZERS if name not in ("word", "no-decoder", "imported-words", "imported-prepended", "character")]
"""Those that can write any lower-case words."""


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory: pytest.TempPathFactory) -> weft.Model:
    return make_model(tmp_path_factory.mktemp("wording"), "bytes", CHATML)


def inside(name: str, row: tuple[int, ...]) -> str:
    """What ids say in the middle of a text."""
    forms = Forms(TOKENIZERS[name])
    before = next([token] for token in range(len(forms.inside)) if forms.spaced([token]))
    return forms.added(row, before).decode()


@pytest.mark.parametrize("name", WHOLE)
def test_words(name: str) -> None:
    wording = Wording(TOKENIZERS[name], continues=True)
    banned = wording.in_ids({"banned_words": ["the test"]})["banned_words"]
    said = {inside(name, row) for row in banned}
    assert " the test" in said and said <= {"the test", " the test", "The test", " The test"}
    forced = wording.in_ids({"forced_words": ["the", "."]})["forced_words"]
    assert inside(name, forced[0]) == " the" and inside(name, forced[1]).strip() == "."
    spaced = name in ("bert", "openai-gpt")  # which put a space before every word
    for option in ("prefix", "suffix"):
        assert inside(name, wording.in_ids({option: "the test"})[option]) == " " * spaced + "the test"


def test_a_mark_that_joins_others() -> None:
    """"(." is one piece of Phi-3's, "." another."""
    tokenizer = Tokenizer.load(shared("phi3/hf_tokenizer.json"))
    assert tokenizer.tokens(Wording(tokenizer, continues=True).in_ids({"suffix": "."})["suffix"]) == ["."]


@pytest.mark.parametrize("option", ["prefix", "suffix"])
def test_what_is_no_row_of_a_prefix_is_refused_and_not_taken_for_none(option: str) -> None:
    wording = Wording(TOKENIZERS["metaspace_bpe"], continues=False)
    for none in (None, "", (), []):
        assert GenerationOptions(**wording.in_ids({option: none})) == GenerationOptions()
    for wrong in (0, False, {}, 0.0):
        with pytest.raises(UsageError, match=f"{option} is .*; it must be a list of token ids"):
            GenerationOptions(**wording.in_ids({option: wrong}))


@pytest.mark.parametrize("name", WHOLE)
def test_prefixes_of_outputs_of_their_own(name: str) -> None:
    row = Wording(TOKENIZERS[name], continues=False).in_ids({"prefix": "the test"})["prefix"]
    assert TOKENIZERS[name].decode(row) == "the test"


def test_every_way_to_write_a_word_is_banned() -> None:
    tokenizer = TOKENIZERS["byte_bpe"]
    rows = Wording(tokenizer, continues=True).in_ids({"banned_words": "cat"})["banned_words"]
    assert {tokenizer.decode(row) for row in rows} == {"cat", " cat", "Cat", " Cat"}


def test_ids_stay_as_they_are() -> None:
    wording = Wording(TOKENIZERS["byte_bpe"], continues=True)
    given: dict[str, Any] = {"banned": [5, 6], "eos": (7,), "banned_words": [[5, 6], (7,)], "prefix": [8, 9], "suffix": (),
                             "forced_first": 4, "forced_last": None, "logit_bias": [[5, 1.5]], "stop": ["a"], "beams": 4,
                             "json_schema": "{}", "order": ["top_k"]}
    assert wording.in_ids(given) == {
        "banned": (5, 6), "eos": (7,), "banned_words": ((5, 6), (7,)), "prefix": (8, 9), "suffix": (), "forced_first": 4,
        "forced_last": None, "logit_bias": ((5, 1.5),), "stop": ("a",), "beams": 4, "json_schema": "{}", "order": ("top_k",)}


def test_tokens_by_their_text(model: weft.Model) -> None:
    end, the = model.tokenizer.id_of("<|im_end|>"), model.tokenizer.id_of("Ġbrown")
    options = model.options(eos="<|im_end|>", banned=["<s>", 5], forced_first=" brown", logit_bias={" brown": -2, 9: 1.0},
                            stop="\n\n", json_schema={"type": "integer"})
    assert options.eos == (end,) and options.banned == (model.tokenizer.id_of("<s>"), 5) and options.forced_first == the
    assert options.logit_bias == ((the, -2), (9, 1.0)) and options.stop == ("\n\n",)
    assert json.loads(options.json_schema) == {"type": "integer"}


@pytest.mark.parametrize(("options", "message"), [
    ({"banned": ["no such token"]}, "banned names 'no such token', which is no token of this model, but of"),
    ({"logit_bias": {"no such token": 1}}, "logit_bias names 'no such token', which is no token of this model"),
    ({"logit_bias": 3}, "logit_bias is 3; it must be a list"),
    ({"banned_words": [""]}, "banned_words holds an empty text"),
    ({"banned_words": [3]}, "banned_words holds 3"),
    ({"banned_words": 3}, "banned_words holds 3"),
    ({"stop": 3}, "stop is 3; it must be a list"),
    ({"stop": ""}, "stop holds an empty text"),
    ({"prefix": "a", "max_new_tokens": 0, "min_new_tokens": 3}, "min_new_tokens 3 is above max_new_tokens 0"),
    ({"json_schema": 3}, "json_schema is 3; it must be a text"),
    ({"forced_words": ["a"]}, "forced_words"),
])
def test_what_no_option_can_be(model: weft.Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        model.options(**options)
    assert message in str(error.value)


def test_what_a_tokenizer_cannot_express_is_named() -> None:
    for name, word in (("wordpiece", "日本"), ("word", "zebra"), ("bert", "日本"), ("imported-unigram", "日本")):
        wording = Wording(TOKENIZERS[name], continues=True)
        for option in ("banned_words", "prefix", "suffix"):
            with pytest.raises(UsageError, match=f"{option} holds '{word}', which this model's tokenizer cannot express"):
                wording.in_ids({option: word})


def test_outputs_keep_to_words(model: weft.Model, tiny_bundle: Path) -> None:
    first = model.complete("a fox", max_new_tokens=12).text
    word = next(word for word in first.split() if word.isascii() and word.isalpha())
    found = model.complete("a fox", max_new_tokens=12, banned_words=[word]).text
    assert word in first and word not in found
    assert model.complete("a fox", max_new_tokens=9, prefix="naming").text.startswith("naming")
    assert model.complete("a fox", max_new_tokens=9, suffix="done.").text.endswith("done.")
    assert weft.load(tiny_bundle).translate("one two.", max_new_tokens=9, prefix="five").startswith("five")


# ---------------------------------------------------------------- defaults that give way


@pytest.mark.parametrize(("defaults", "asked", "want"), [
    ({"beams": 4, "length_penalty": 2.0, "beam_groups": 2, "diversity": 0.5}, {"sample": True}, {"beams": 1, "beam_groups": 1}),
    ({"beams": 4, "beam_groups": 2, "diversity": 0.5}, {"beams": 1}, {"beams": 1, "beam_groups": 1, "diversity": 0.0}),
    ({"beams": 4, "beam_groups": 2, "diversity": 0.5}, {"beams": 3}, {"beams": 3, "beam_groups": 1, "diversity": 0.0}),
    ({"beams": 4, "n_best": 4}, {"beams": 2}, {"beams": 2, "n_best": 1}),
    ({"beams": 4}, {"penalty_alpha": 0.6, "top_k": 4}, {"beams": 1}),
    ({"beams": 4}, {"lookup": 3}, {"beams": 1}),
    ({"min_new_tokens": 50}, {"max_new_tokens": 9}, {"min_new_tokens": 9}),
    ({"sample": True, "temperature": 0.6, "top_p": 0.9}, {"beams": 4}, {"sample": False, "temperature": 1.0, "top_p": 1.0}),
    ({"sample": True, "temperature": 0.6, "top_p": 0.9}, {"sample": False}, {"temperature": 1.0, "top_p": 1.0}),
    ({"sample": True, "temperature": 0.6, "top_p": 0.9}, {"top_p": 0.5}, {"sample": True, "temperature": 0.6, "top_p": 0.5}),
])
def test_a_default_gives_way(model: weft.Model, defaults: dict[str, Any], asked: dict[str, Any], want: dict[str, Any],
                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "defaults", weft.model.GenerationOptions(**defaults))
    options = model.options(**asked)
    assert {name: getattr(options, name) for name in want} == want


def test_what_is_asked_for_never_gives_way(model: weft.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "defaults", weft.model.GenerationOptions(beams=4))
    for asked in ({"sample": True, "beams": 4}, {"top_p": 0.5}, {"max_new_tokens": 3, "min_new_tokens": 4}):
        with pytest.raises(UsageError):
            model.options(**asked)
