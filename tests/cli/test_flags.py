"""Flags of the options of decoding: what they read, and the help that tells of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.test_chat import make_model
from tests.text.chat_templates import CHATML
from weft.cli.flags import Parser, add_generation_flags, generation_options
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions


def read(*argv: str) -> dict[str, Any]:
    parser = Parser(prog="weft")
    parser.add_argument("text", nargs="*")
    add_generation_flags(parser)
    return generation_options(parser.parse_args(list(argv)))


@pytest.fixture(scope="module", name="completer")
def _completer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("flags"), "bytes", CHATML).bundle.path


def test_every_option_but_the_order_has_a_flag_and_a_group() -> None:
    parser = Parser(prog="weft")
    add_generation_flags(parser)
    flags = {action.dest for group in parser._action_groups[2:] for action in group._group_actions}
    assert flags == {field.name for field in fields(GenerationOptions)} - {"order"} | {"preset"}
    assert [group.title for group in parser._action_groups[2:]][:3] == ["search", "length and ends", "what may be chosen"]


def test_texts_tokens_and_biases() -> None:
    found = read("a prompt", "--stop", r"\n\n", "--stop", "END", "--banned-words", "cat", "--eos", "</s>",
                 "--logit-bias", "the=-2.5", "--logit-bias", "a=b=1", "--prefix", r"\tYes\\n", "--forced-first", "fra_Latn",
                 "--regex", r"a\nb", "--preset", "hf", "--no-sample", "--beam", "3")
    assert found == {"stop": ("\n\n", "END"), "banned_words": ("cat",), "eos": ("</s>",), "preset": "hf", "sample": False,
                     "logit_bias": (("the", -2.5), ("a=b", 1.0)), "prefix": "\tYes\\n", "forced_first": "fra_Latn",
                     "regex": r"a\nb", "beams": 3}
    assert read("a") == {}
    with pytest.raises(UsageError, match="--logit-bias the: it takes a token and a number"):
        read("--logit-bias", "the")


def test_ids_are_written_with_a_mark() -> None:
    found = read("--banned", "id:934", "--banned", "934", "--banned-words", "id:5,17", "--banned-words", "id:x", "--prefix",
                 "id:8", "--forced-first", "id:3", "--logit-bias", "id:7=-inf", "--eos", r"\id:5", "--suffix", r"\id:5\n",
                 "--forced-last", "id:5,6", "--stop", "id:5")
    assert found == {"banned": (934, "934"), "banned_words": ((5, 17), "id:x"), "prefix": (8,), "forced_first": 3,
                     "logit_bias": ((7, -math.inf),), "eos": ("id:5",), "suffix": "id:5\n", "forced_last": "id:5,6",
                     "stop": ("id:5",)}


@pytest.mark.parametrize("arguments,message", [
    (["--top-p", "abc"], "--top-p is 'abc'; it must be a number, above 0 to 1; leave it out for 1, which is off"),
    (["--top-k", "1.5"], "--top-k is '1.5'; it must be a whole number, 0 or more; the nearest is 2"),
    (["--beams", "many"], "--beams is 'many'; it must be a whole number, 1 to 64; leave it out for 1, which is greedy"),
    (["--max-new-tokens", ""], "--max-new-tokens is ''; it must be a whole number, 0 or more"),
    (["--early-stopping", "firs"], "invalid choice: 'firs' (choose from"),
    (["--json-schema", ""], "--json-schema is empty, so there is nothing to fit; give one or leave it out"),
    (["--regex", ""], "--regex is empty"), (["--grammar", ""], "--grammar is empty"),
])
def test_what_is_no_value_is_refused_with_what_is(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        read(*arguments)
    assert message in str(error.value)


def test_help_is_quick_and_in_groups() -> None:
    command, seconds = [sys.executable, "-m", "weft", "complete", "--help"], []
    for _ in range(3):
        start = time.perf_counter()
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds.append(time.perf_counter() - start)
    assert "\nsampling:\n" in out and "--stop TEXT" in out and "usage: weft complete --model MODEL [options] [text ...]" in out
    assert min(seconds) < 1.5, "a shared machine is slower than the 0.3 s that are meant"


def test_json_tells_all(weft: Any, completer: Path) -> None:
    common = ["complete", "--model", completer, "--max-new-tokens", 4, "--json", "a fox"]
    status, out, _ = weft(*common, "--logprobs", 2, "--stop", "zzz")
    row = json.loads(out)
    assert status == 0 and row["reason"] == "limit" and row["ended"] is False and "alternatives" not in row
    assert [len(step) for step in row["top_logprobs"]] == [2] * 4 and row["top_logprobs"][0][0]["logprob"] == row["logprobs"][0]
    assert row["top_logprobs"][0][0]["id"] == row["tokens"][0] and row["top_logprobs"][0][0]["token"]
    _, out, _ = weft(*common, "--beams", 3, "--n-best", 3)
    row = json.loads(out)
    assert out.count("\n") == 1 and len(row["alternatives"]) == 3 and row["alternatives"][0]["tokens"] == row["tokens"]
    assert row["alternatives"][0]["score"] >= row["alternatives"][2]["score"]
    row = json.loads(weft(*common, "--logprobs", 5, "--regex", "[0-9]*")[1], parse_constant=None)
    assert all(math.isfinite(one["logprob"]) for step in row["top_logprobs"] for one in step)
    assert weft(*common[:-2], "--prompt-logprobs", "a fox")[::2] == (
        2, "weft: error: --prompt-logprobs are told as JSON only; add --json\n")


def test_log_probabilities_line_by_line(weft: Any, completer: Path) -> None:
    """Each text, then a line a token: the tokens put together are the text, and so are those of pieces."""
    status, out, _ = weft("complete", "--model", completer, "--max-new-tokens", 4, "--logprobs", 2, "--echo", "a fox")
    text, *lines = out.removesuffix("\n").split("\n")
    assert status == 0 and text.startswith("a fox") and len(lines) == 4
    rows = [line.split("\t") for line in lines]
    assert all(row[0] == "" and row[3].rsplit(" ", 1) == [row[2], row[1]] and len(row) == 5 for row in rows), "greedy"
    long = " ".join(["Le chat dort sur la table et le chien mange."] * 60)
    status, out, err = weft("translate", "--logprobs", 1, "--n-best", 2, "--scores", "--beams", 2, "Oui.", long)
    assert status == 0 and "it was translated in 2 pieces" in err
    blocks: list[list[list[str]]] = []
    for line in out.removesuffix("\n").split("\n"):
        if line.startswith("\t"):
            blocks[-1].append(line.split("\t"))
        else:
            blocks.append([line.split("\t")])
    assert [block[0][1] for block in blocks] == ["1", "1", "2", "2"]
    assert [sum(row[2] == "(end)" for row in block) for block in blocks] == [1, 1, 2, 2]
    for (_, _, text), *rows in blocks:
        told = "".join(row[2] for row in rows if row[2] != "(end)")
        assert told.replace(" ", "") == text.replace(" ", "")


def test_translations_as_json(weft: Any) -> None:
    status, out, _ = weft("translate", "--json", "--n-best", 2, "--logprobs", 2, "Oui.", "")
    first, blank = map(json.loads, out.splitlines())
    assert status == 0 and first["source"] == "Oui." and first["translation"] == first["alternatives"][0]["translation"]
    assert len(first["top_logprobs"]) == len(first["logprobs"]) == len(first["tokens"]) + first["ended"]
    assert blank == {"source": "", "translation": "", "tokens": [], "logprobs": [], "score": 0.0, "ended": True,
                     "reason": "end"}
    assert "--json tells the score already; drop --scores" in weft("translate", "--json", "--scores", "Oui.")[2]


def test_the_command_guides_and_stops(weft: Any, completer: Path) -> None:
    status, out, err = weft("complete", "--model", completer, "--regex", "[0-9]{3}", "--max-new-tokens", 9, "a", "b")
    assert status == 0 and err == "" and all(len(line) == 3 and line.isdigit() for line in out.splitlines())
    streamed = weft("complete", "--model", completer, "--regex", "[0-9]{3}", "--max-new-tokens", 9, "a")[1]
    assert streamed == out.splitlines()[0] + "\n"
    status, out, err = weft("complete", "--model", completer, "--regex", "[0-9]{90}", "--max-new-tokens", 25, "a")
    assert status == 0 and "weft: note: input 1 has an output that the limit of 25 new tokens cut" in err
    assert "regex cannot be followed: unclosed group" in weft("complete", "--model", completer, "--regex", "(", "a")[2]
    assert "unknown preset 'hfx'. Did you mean 'hf'?" in weft("complete", "--model", completer, "--preset", "hfx", "a")[2]
