"""Chat templates: the strings of transformers, limits that hold, ways out that are closed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jinja2
import pytest
import tokenizers
import transformers

from tests.text.chat_templates import CHATS, TEMPLATES, USER, WEATHER
from tests.text.test_foreign import fill
from weft.errors import TokenizerError, UsageError
from weft.text import chat
from weft.text.chat import render
from weft.text.foreign import read_chat_template

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module", name="reference")
def _reference() -> Any:
    hf = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=hf, **SPECIAL)


@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_as_transformers(reference: Any, name: str, messages: str) -> None:
    for keywords in ({}, {"add_generation_prompt": False}, {"tools": WEATHER, "enable_thinking": False, "x": [1, {"a": 2}]}):
        keywords = {"add_generation_prompt": True, **keywords}
        try:
            want = reference.apply_chat_template(CHATS[messages], chat_template=TEMPLATES[name], tokenize=False, **keywords)
        except jinja2.TemplateError as error:
            with pytest.raises((UsageError, TokenizerError)) as refused:
                render(TEMPLATES[name], CHATS[messages], special=SPECIAL, **keywords)
            assert str(error) in str(refused.value)
            continue
        assert render(TEMPLATES[name], CHATS[messages], special=SPECIAL, **keywords) == want


def test_time_is_told(reference: Any) -> None:
    template = ("{{ strftime_now('%Y-%m') }}{{ documents is none }}{{ tools is none }}{{ dict(a=1)['a'] }}"
                "{{ dict.fromkeys('ab') }}")
    assert render(template, USER) == reference.apply_chat_template(USER, chat_template=template, tokenize=False)


@pytest.mark.parametrize("name", ["gemma", "llama2"])
def test_a_refusal_has_the_templates_words(name: str) -> None:
    with pytest.raises(UsageError, match=r"refuses these messages: (System role not supported|Conversation roles must alter)"):
        render(TEMPLATES[name], [{"role": "system", "content": "a"}, {"role": "assistant", "content": "a"}], special=SPECIAL)


LOOP = "{% for i in range(99999) %}"


@pytest.mark.parametrize("template", [
    LOOP * 3 + "{% endfor %}" * 3,
    LOOP * 3 + "{{ i }}{% set x = i %}" + "{% endfor %}" * 3,
    "{{ (10 ** 9) ** (10 ** 9) }}",
    "{{ ('a' * 10 ** 5)|list|map('replace', 'a', 'a' * 10 ** 6)|join|length }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
])
def test_what_does_not_end_is_stopped(template: str) -> None:
    begun = time.monotonic()
    with pytest.raises(TokenizerError, match=r"not rendered within 2 seconds|passes 4,000,000 characters"):
        render(template, USER)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("template", "message"), [
    ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
    (LOOP + "{{ 'a' * 1000 }}{% endfor %}", "passes 4,000,000 characters"),
    ("{{ 'a' * 5000000 }}", "passes 4,000,000 characters"),
    ("{{ 'a' * 10 ** 11 }}", "1,024 MiB"),
    ("a" * 1_000_001, "has 1,000,001 bytes"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ("{% if %}", "is no Jinja template: line 1"),
    ("{% for x in messages %}\n\n{% endif %}", "line 3"),
    ("{{ messages[0].a.b }}", "'dict object' has no attribute 'a'"),
    ("{{ 1 / 0 }}", "division by zero"),
])
def test_faults(template: str, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        render(template, USER)


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ raise_exception.__globals__['sys'] }}",
    "{{ strftime_now.__code__.co_consts }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{x.__class__.__mro__}'.format_map({'x': ''}) }}",
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__.__mro__}']|map(attribute='format')|first()('') }}",
    "{{ ('{0.__class__.__mro__}'|attr('format'))('') }}",
    "{{ [1]|map(attribute='__class__.__mro__')|list|first|first }}",
    "{{ namespace(__class__=1) }}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "{{ dict.__class__.__mro__ }}",
    "{{ dict.mro() }}",
    "{% import 'os' as os %}{{ os }}", "{% from 'os' import popen %}", "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}", "{{ messages[0].pop('role') }}",
    "{{ caller.__globals__.x }}", "{{ loop.__class__.x }}", "{{ (1).__reduce_ex__(2) }}", "{{ {}.__init_subclass__() }}",
    "{% generation %}{{ ''.__class__.__mro__ }}{% endgeneration %}",
    "{{ environment.loader }}", "{{ open('/etc/passwd').read() }}", "{{ __import__('os').x }}", "{{ eval('1') }}",
])
def test_ways_out_are_closed(template: str) -> None:
    with pytest.raises(TokenizerError, match=r"does what it may not|cannot render these messages: (Undefined|Type)Error"):
        render(template, USER)


def test_the_child_sees_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    code = ("import sys, json, os; sys.stdin.read(); print(json.dumps({'text': str(sorted(os.environ)) + "
            "str(sys.flags.isolated)}))")
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(chat, "_CHILD", tmp_path / "child.py")
    assert "A_SECRET" not in (said := render("", USER)) and said.endswith("1")


def test_a_child_that_dies_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for code, message in (("import os; os.abort()", "status -6"), ("1 / 0", "ZeroDivisionError"), ("", "status 0")):
        (tmp_path / "child.py").write_text(code)
        monkeypatch.setattr(chat, "_CHILD", tmp_path / "child.py")
        with pytest.raises(TokenizerError, match=message):
            render("", USER)
    monkeypatch.setattr(chat, "START_SECONDS", -1.5)
    (tmp_path / "child.py").write_text("import time; time.sleep(60)")
    with pytest.raises(TokenizerError, match="within 2 seconds"):
        render("", USER)


@pytest.mark.parametrize(("messages", "variables", "message"), [
    ([], {}, "at least one message"), ("hello", {}, "at least one message"), ({"role": "user"}, {}, "at least one message"),
    (["hello"], {}, "message 1 of the chat is 'hello'"), ([{"role": "user", "content": object()}], {}, "plain values"),
    (USER, {"x": {1, 2}}, "plain values"),
])
def test_messages_are_plain(messages: Any, variables: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render("", messages, **variables)


def test_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'weft\[chat\]'"):
        render("", USER)


def test_odd_characters_go_through() -> None:
    text = "\0\x85\u2028\ud800\r\n😀"
    assert render("{{ messages[0].content }}", [{"role": "user", "content": text}]) == text


# ---------------------------------------------------------------- from a checkpoint's files


@pytest.mark.parametrize(("files", "config", "want"), [
    ({}, {}, None),
    ({"chat_template.jinja": "a\r\né"}, {"chat_template": "b"}, "a\r\né"),
    ({}, {"chat_template": "b"}, "b"),
    ({}, {"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}, "d"),
    ({}, {"chat_template": {"default": "d"}}, "d"),
    ({}, {"chat_template": [{"name": "tool_use", "template": "t"}]}, None),
    ({}, {"chat_template": "{{ eos_token }}", "eos_token": "</s>"}, "{{ eos_token }}"),
    ({}, {"chat_template": "{{ x }}", "eos_token": "<|end|>"}, "{{ x }}"),
    ({}, {"chat_template": "{{ eos_token }}", "eos_token": {"content": "<|\"é|>"}},
     "{%- set eos_token = \"<|\\\"é|>\" %}\n{{ eos_token }}"),
    ({}, {"chat_template": "{{ bos_token }}", "bos_token": None, "add_bos_token": True},
     "{%- set bos_token = \"\" %}\n{{ bos_token }}"),
])
def test_where_a_template_is(tmp_path: Path, files: dict[str, Any], config: dict[str, Any], want: str | None) -> None:
    assert read_chat_template(fill(tmp_path, files, **config), SPECIAL) == want


def test_what_the_tokenizers_files_say_of_special_tokens_counts(tmp_path: Path) -> None:
    folder = fill(tmp_path, {}, chat_template="\n  {%- for m in messages %}\n  {{ eos_token }}{{ bos_token }}{% endfor %}",
                  eos_token="<|\"é|>", bos_token=None)
    template = read_chat_template(folder, SPECIAL)
    assert template is not None and render(template, USER, special=SPECIAL) == "  <|\"é|>"


@pytest.mark.parametrize(("files", "config", "message"), [
    ({"chat_template.jinja": b"\xff"}, {}, "cannot read .*chat_template.jinja"),
    ({"chat_template.jinja": "a" * 1_000_001}, {}, "has 1,000,001 bytes"),
    ({}, {"chat_template": 7}, "a chat_template that is no text"),
])
def test_damaged_templates(tmp_path: Path, files: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        read_chat_template(fill(tmp_path, files, **config), SPECIAL)
