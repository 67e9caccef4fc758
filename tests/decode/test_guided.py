"""Guided output fits what guides it: for every tokenizer, greedy, sampled and by beams; and what cannot be is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from tests.decode.fake import FakeRunner
from tests.test_chat import make_model
from tests.text.chat_templates import CHATML
from tests.text.test_forms import TOKENIZERS
from weft.decode import generate_batch
from weft.decode.guided import Guide, Vocabulary, guide
from weft.decode.rows import Request, Rows
from weft.errors import UsageError, WindowError
from weft.spec.decoding import GenerationOptions

WAYS: list[dict[str, Any]] = [{}, {"sample": True, "temperature": 2.0}, {"beams": 3, "n_best": 3}]
FIT = {"word": r" *(cats?|mat)( +[0-9a-z]*){0,3}", "no-decoder": r" ?(w[0-9] w1|w2 w3 w4)",
       "imported-words": r" ?(brown|fox)( lazy)*",
       "imported-prepended": r" ?[a-z]( [a-z]){2}", "openai-gpt": r" ?[a-z]+( [a-z]+){1,2}"}
"""Regular expressions for tokenizers that cannot write any text, or none without a space; the others get one with choices
of cut and spacing."""
ANY = r"[a-e]{2,4} (the|quick)( [xf]| 1)?"
SCHEMA = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"], "properties": {
    "name": {"type": "string", "maxLength": 6, "pattern": "^[a-z]+$"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1, "maxItems": 3}}}
GRAMMAR = 'start: "let " name " = " sum\nname: /[a-z]{1,3}/\nsum: /[0-9]/ (" + " /[0-9]/)~1..3\n'


def fits(text: str) -> None:
    """Valid by the schema, checked by hand."""
    found = json.loads(text)
    assert list(found) == ["name", "age", "tags"] and re.fullmatch("[a-z]{1,6}", found["name"]), text
    assert type(found["age"]) is int and 0 <= found["age"] <= 150
    assert 1 <= len(found["tags"]) <= 3 and set(found["tags"]) <= {"red", "blue"}


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory: pytest.TempPathFactory) -> weft.Model:
    """A random decoder-only model with a byte-level tokenizer."""
    return make_model(tmp_path_factory.mktemp("guided"), "bytes", CHATML)


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "sample", "beams"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer(name: str, way: dict[str, Any]) -> None:
    tokenizer, regex = TOKENIZERS[name], FIT.get(name, ANY)
    runner = FakeRunner(tokenizer.rows + 3)
    runner.eos = runner.vocabulary_size - 1
    rule = Guide("regex", regex, Vocabulary(tokenizer, runner.vocabulary_size))
    for prompted in (False, True):
        texts, ended = [[5, 6], [7, 8, 9], [9]], 0
        given: dict[str, Any] = {"sources": None, "prompts": texts} if prompted else {"sources": texts}
        found = generate_batch(runner, **given, options=GenerationOptions(**way, max_new_tokens=40), rules={"regex": rule})
        for before, hypotheses in zip(texts, found, strict=True):
            for one in hypotheses:
                said = [token for token in one.tokens if token != runner.eos]
                ended += one.reason == "end"
                text = rule.vocabulary.forms.added(said, before if prompted else ()).decode()
                assert one.reason != "end" or re.fullmatch(regex, text), (text, tokenizer.tokens(said))
                assert prompted or text == tokenizer.decode(said)
                assert rule.fits(said, before if prompted else ()) == (re.fullmatch(regex, text) is not None)
        assert ended > 0


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "sample", "beams"])
def test_json_of_a_model(model: weft.Model, way: dict[str, Any]) -> None:
    for seed in range(3 if way.get("sample") else 1):
        for result in model.generate(["Once upon", "a"], json_schema=SCHEMA, max_new_tokens=150, seed=seed, **way):
            for one in result.alternatives or (result,):
                assert one.finished and one.reason == "end"
                fits(one.text)
    assert not model.notices


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "sample", "beams"])
def test_a_grammar_of_a_model(model: weft.Model, way: dict[str, Any]) -> None:
    for one in model.generate(["Once", "a fox is"], grammar=GRAMMAR, max_new_tokens=60, **way):
        assert one.finished and re.fullmatch(r"let [a-z]{1,3} = [0-9]( \+ [0-9]){1,3}", one.text)


def test_an_encoder_decoder(tiny_bundle: Path) -> None:
    model = weft.load(tiny_bundle)
    for way in WAYS:
        for one in model.generate(["one two.", "three."], regex=r"[0-9]( [0-9]){2}\.", max_new_tokens=30, **way):
            assert one.finished and re.fullmatch(r"[0-9]( [0-9]){2}\.", one.text)
    with pytest.raises(WindowError, match="model's window is 40"):
        model.translate("one two three. " * 30, regex="[0-9]")


def test_the_end_comes_exactly_where_it_may(model: weft.Model) -> None:
    """The mask of every step against the regular expression itself, by brute force over the vocabulary."""
    regex, begins = "ab?(cab)*", "ab?(cab)*(ca?)?|"
    rule = Guide("regex", regex, model._vocabulary)
    size, ends = model.config.vocabulary, frozenset((2, 300))
    prompt = model.tokenizer.encode("It is ")
    for text in ("", "a", "ab", "abc", "abca", "abcab", "ac"):
        tokens = np.array([model.tokenizer.encode(text)], np.int64).reshape(1, -1)
        logits = rule(np.zeros((1, size), np.float32), Rows([Request(0, 99, prompt=prompt)], tokens, ends))
        allowed = set(np.flatnonzero(logits[0] == 0).tolist())
        spelled = {token: model.tokenizer.bytes_of(token).decode("latin-1") for token in range(size) if token not in ends}
        want = {token for token, data in spelled.items() if data and re.fullmatch(begins, text + data)}
        assert allowed == want | (ends if re.fullmatch(regex, text) else set()), text


def test_rows_do_not_matter_to_each_other(model: weft.Model) -> None:
    prompts = ["a", "Once upon a time", "fox", "the lazy dog"]
    for way in WAYS:
        options: dict[str, Any] = {"json_schema": SCHEMA, "max_new_tokens": 120, **way}
        together = model.generate(prompts, **options)
        for index, prompt in enumerate(prompts):
            alone = model.generate([prompt], first=index, **options)[0]
            assert (alone.tokens, alone.text) == (together[index].tokens, together[index].text)


def test_it_forgets_and_finds_again(model: weft.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept changes nothing."""
    want = model.generate(["a", "b"], json_schema=SCHEMA, max_new_tokens=120, beams=3, n_best=3)
    monkeypatch.setattr("weft.decode.guided.KEPT", 1)
    assert model.generate(["a", "b"], json_schema=SCHEMA, max_new_tokens=120, beams=3, n_best=3) == want


def test_streams_fit_too(model: weft.Model) -> None:
    events = list(model.stream("a fox", json_schema=json.dumps(SCHEMA), max_new_tokens=150))
    fits("".join(event.text for event in events if hasattr(event, "token")))


def test_without_a_guide_nothing_changes(model: weft.Model) -> None:
    want = model.generate(["a fox"], max_new_tokens=9)
    model.generate(["a fox"], max_new_tokens=9, regex="[0-9]+")
    model.notices.clear()
    assert model.generate(["a fox"], max_new_tokens=9) == want


# ---------------------------------------------------------------- what cannot be


def test_where_no_token_spells_what_must_follow() -> None:
    """A vocabulary of words may lead into an end of the road: that is an error, never an end."""
    tokenizer = TOKENIZERS["word"]
    runner = FakeRunner(len(tokenizer) + 1)
    rule = Guide("regex", "cat(sat|xyz)", Vocabulary(tokenizer, runner.vocabulary_size))
    runner.eos = runner.vocabulary_size - 1
    with pytest.raises(UsageError, match="no token is left to choose"):
        generate_batch(runner, [[5]], GenerationOptions(max_new_tokens=9), rules={"regex": rule})


def test_what_the_limit_cuts_is_said(model: weft.Model) -> None:
    (result,) = model.generate(["a"], regex="[a-z]{400}", max_new_tokens=30)
    assert not result.finished and result.reason == "limit" and re.fullmatch("[a-z]+", result.text)
    (notice,) = model.notices
    assert notice.startswith("input 1 has an output that the limit of 30 new tokens cut before it fits the regex; allow more")
    model.notices.clear()
    list(model.stream("a", grammar="start: /[a-z]/ start", max_new_tokens=5))
    assert "before it fits the grammar" in model.notices.pop()
    (whole,) = model.generate(["a"], regex="7{3}", max_new_tokens=3)
    assert whole.text == "777" and not model.notices, "all that fits, only without its end"


@pytest.mark.parametrize(("options", "message"), [
    ({"regex": "a("}, "regex cannot be followed: unclosed group, at character 2 of 'a('"),
    ({"regex": "(?=a)b"}, "look-around, including look-ahead and look-behind, is not supported, at character 1"),
    ({"json_schema": '{"type": '}, "json_schema is no JSON: Expecting value: line 1 column 10"),
    ({"json_schema": {"type": "strin"}}, "json_schema cannot be followed: Invalid type: strin"),
    ({"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}}, "minLength (5) is greater than maxLength (2)"),
    ({"json_schema": "[]"}, "json_schema is []; it, and x-guidance in it, must be a table of keys"),
    ({"json_schema": {"not": {}}}, 'Unimplemented keys: ["not"]'),
    ({"grammar": 'start: "a" b'}, 'grammar cannot be followed: line 1, column 8: unknown name: "b"'),
    ({"grammar": 'start: a\na: ('}, "grammar cannot be followed: line 2, column 5: Expected token"),
    ({"grammar": 'start: "a" start'}, "what fits this grammar has at least"),
    ({"regex": "a{900}"}, "max_new_tokens is 20, but what fits this regex has at least"),
    ({"json_schema": {}, "regex": "a"}, "json_schema and regex contradict each other"),
    ({"regex": "aé日"}, "no token is left to choose"),
])
def test_what_cannot_be_followed_is_refused(model: weft.Model, options: dict[str, Any], message: str) -> None:
    banned = model.tokenizer.encode("日") if "日" in str(options) else ()
    with pytest.raises(UsageError) as error:
        model.generate(["a"], max_new_tokens=20, banned=banned, **options)
    assert message in str(error.value)


def test_what_no_window_holds_is_refused(model: weft.Model) -> None:
    """Also where no limit is given: it could only be cut."""
    with pytest.raises(UsageError, match=r"the model's window is \d+, but what fits this grammar has .* or never ends; ask"):
        model.generate(["a"], grammar='start: "a" start')


def test_nothing_is_asked_for(model: weft.Model) -> None:
    assert model.generate(["a"], regex="a{900}", max_new_tokens=0)[0].text == ""


def test_fewest_tokens(model: weft.Model) -> None:
    """Never more than are needed."""
    for text in ("the quick brown fox", "zzzzz", "{}"):
        rule = guide(GenerationOptions(regex=re.escape(text).replace("\\ ", " ")), model._vocabulary, 64)
        assert 1 <= rule.least <= len(model.tokenizer.encode(text))


def test_without_the_library(model: weft.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=r"needs llguidance: pip install 'weft\[guided\]'"):
        weft.load(model.bundle.path).generate(["a"], regex="a")
