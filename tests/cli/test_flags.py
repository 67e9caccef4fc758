"""Flags of the options of decoding: what they read, and the help that tells of them."""

from __future__ import annotations

import json
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


def test_the_command_guides_and_stops(weft: Any, completer: Path) -> None:
    status, out, err = weft("complete", "--model", completer, "--regex", "[0-9]{3}", "--max-new-tokens", 9, "a", "b")
    assert status == 0 and err == "" and all(len(line) == 3 and line.isdigit() for line in out.splitlines())
    streamed = weft("complete", "--model", completer, "--regex", "[0-9]{3}", "--max-new-tokens", 9, "a")[1]
    assert streamed == out.splitlines()[0] + "\n"
    status, out, err = weft("complete", "--model", completer, "--regex", "[0-9]{90}", "--max-new-tokens", 25, "a")
    assert status == 0 and "weft: note: input 1 has an output that the limit of 25 new tokens cut" in err
    assert "regex cannot be followed: unclosed group" in weft("complete", "--model", completer, "--regex", "(", "a")[2]
    assert "unknown preset 'hfx'. Did you mean 'hf'?" in weft("complete", "--model", completer, "--preset", "hfx", "a")[2]
