"""The verbs over imported models: what each prints, and the message for each bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundles import FAMILIES, bundle, checkpoint, edit
from weft.bundle import open_bundle
from weft.model import load
from weft.spec.parameters import count

MADE = {"translate": ("marian", ""), "complete": ("gpt2", ""), "fill": ("bert", ""), "classify": ("bert", "classification"),
        "tag": ("bert", "tag"), "embed": ("bert", "embedding")}
ABILITIES = {"translate": "encoder-decoder with a language_model head", "complete": "decoder-only with a language_model head",
             "fill": "encoder-only with a language_model head", "classify": "encoder-only with a classification head",
             "tag": "encoder-only with a tag head", "embed": "encoder-only with a embedding head"}
WHAT = {"translate": "translate", "complete": "complete prompts", "fill": "fill in words", "classify": "classify",
        "tag": "tag words"}
ODD = 'w1 "quoted" \\ 😀 é\u2028\x01 ﬁ'


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model for each verb; `started` completes too, and has a start token. All have a window of 40."""
    folder = tmp_path_factory.mktemp("models")
    made = {verb: bundle(folder / verb, name, head, around=True) for verb, (name, head) in MADE.items() if verb != "complete"}
    return made | {"complete": bundle(folder / "complete", "gpt2"), "started": bundle(folder / "started", "gpt2", around=True),
                   "unstarted": bundle(folder / "unstarted", "gpt2", bos_token_id=None),
                   "decoder_classify": bundle(folder / "decoder_classify", "gpt2", "classification")}


# ---------------------------------------------------------------- what a model does not do


@pytest.mark.parametrize("verb", WHAT)
def test_a_model_for_something_else_says_what_it_does(weft: Callable, models: dict[str, Path], verb: str) -> None:
    """Before any line is read, so that an empty input is refused too."""
    for able, sentence in ABILITIES.items():
        if able == verb:
            continue
        for text in (["w1 <mask>"], []):
            status, out, err = weft(verb, "--model", models[able], *text)
            assert status == 2 and out == ""
            assert f"error: this model does not {WHAT[verb]}: it is {sentence}; use model.{able}(...)" in err
            assert ("on the command line" in err) == (able != "embed")


# ---------------------------------------------------------------- complete


def test_several_samples_of_one_prompt_are_a_line_each(weft: Callable, models: dict[str, Path]) -> None:
    few = ("complete", "--model", models["complete"], "--max-new-tokens", 4, "--sample", "w1 w2")
    status, out, _ = weft(*few, "--n", 3)
    assert status == 0 and len(out.splitlines()) == 3
    for choice in (("--best-of", 4), ("--mbr", 4)):
        status, out, _ = weft(*few, *choice)
        assert status == 0 and len(out.splitlines()) == 1


def test_prompts_beyond_the_window(weft: Callable, models: dict[str, Path]) -> None:
    prompt = " ".join(f"w{i % 40}" for i in range(38))
    status, out, err = weft("complete", "--model", models["complete"], "--max-new-tokens", 5, prompt)
    assert (status, out) == (2, "")
    assert "prompt 1 has 38 tokens; with 5 new ones, the last of which is not read, that is 2 more than the model's" in err
    assert "--truncate left" in err
    five = ("complete", "--model", models["complete"], "--max-new-tokens", 5)
    status, streamed, err = weft(*five, "--truncate", "left", prompt)
    assert status == 0 and err == "weft: note: prompt 1 has 38 tokens; the last 36 of them were read\n"
    cut = " ".join(prompt.split()[2:])
    assert weft(*five, cut) == (0, streamed, "")
    status, out, err = weft("complete", "--model", models["complete"], "--max-new-tokens", 41, "--truncate", "left", "w1")
    assert status == 2 and "prompt 1 has 1 tokens; with 41 new ones, the last of which is not read, that is 1 more than" in err
    status, out, err = weft(*five, "--batch-lines", 1, stdin=f"w1\n{prompt}\n".encode())
    assert status == 2 and out.count("\n") == 1 and "prompt 2 has 38 tokens" in err, "the number of the line"


def test_no_new_tokens_and_empty_prompts(weft: Callable, models: dict[str, Path]) -> None:
    assert weft("complete", "--model", models["complete"], "--max-new-tokens", 0, "w1") == (0, "\n", "")
    status, out, _ = weft("complete", "--model", models["complete"], "--max-new-tokens", 0, "--json", "w1", "w2")
    assert status == 0 and [json.loads(line)["tokens"] for line in out.splitlines()] == [[], []]
    status, out, _ = weft("complete", "--model", models["complete"], "--max-new-tokens", 3, "--json", "")
    (begun,) = load(models["complete"]).generate([[1]], max_new_tokens=3)
    assert status == 0 and json.loads(out)["tokens"] == list(begun.tokens)
    for stdin in (b"", b"\n"):
        status, out, err = weft("complete", "--model", models["unstarted"], *([] if stdin else [""]), stdin=stdin)
        assert status == 2 and "the prompt is empty, and this model has no start token to begin with; give it some text" in err
    status, out, err = weft("complete", "--model", models["started"], "--max-new-tokens", 3, "--json", "")
    assert status == 0 and json.loads(out)["prompt"] == "" and err == ""
    assert weft("complete", "--model", models["started"], stdin=b"") == (0, "", "")


def test_completions_as_json(weft: Callable, models: dict[str, Path]) -> None:
    two = ("complete", "--model", models["started"], "--json", "--max-new-tokens", 2)
    status, out, _ = weft(*two, stdin=f"{ODD}\n".encode())
    assert status == 0 and out.count("\n") == 1 and "😀" in out
    answer = json.loads(out)
    assert answer["prompt"] == ODD and len(answer["logprobs"]) == len(answer["tokens"]) + answer["ended"]


# ---------------------------------------------------------------- fill


def test_fill(weft: Callable, models: dict[str, Path]) -> None:
    status, out, err = weft("fill", "--model", models["fill"], "--top", 3, "w1 [MASK] w2")
    assert status == 0 and err == "" and all(re.fullmatch(r"0\.\d{4}\t\S*", line) for line in out.splitlines()[:3])
    status, out, _ = weft("fill", "--model", models["fill"], "--top", 2, stdin=b"w1 <mask> <mask>\n\n[MASK]\n")
    assert [line.split("\t")[0] for line in out.splitlines()[:4]] == ["1", "1", "2", "2"] and out.splitlines()[4] == ""
    _, out, _ = weft("fill", "--model", models["fill"], "--top", 99, "--json", f"{ODD} [MASK]", "")
    first, second = map(json.loads, out.split("\n")[:-1])
    assert first["text"] == f"{ODD} [MASK]" and len(first["words"]) == 1 and len(first["words"][0]) == 61
    assert sum(one["probability"] for one in first["words"][0]) == pytest.approx(1, abs=1e-4)
    assert second == {"text": "", "words": []}


@pytest.mark.parametrize(("arguments", "message"), [
    (["w1"], "no hidden word in 'w1': write [MASK] or <mask> where the model is to fill in"),
    (["--top", "0", "[MASK]"], "--top is 0; it must be 1 or more. See weft fill --help"),
    (["--top", "x", "[MASK]"], "argument --top: invalid int value: 'x'"),
    (["w1 " * 60 + "[MASK]"], "the text has 63 tokens; the model's window is 40. Shorten it"),
    (["\udcff [MASK]"], "surrogate"),
])
def test_what_fill_refuses(weft: Callable, models: dict[str, Path], arguments: list[str], message: str) -> None:
    status, out, err = weft("fill", "--model", models["fill"], *arguments)
    assert status == 2 and out == "" and message in err


# ---------------------------------------------------------------- classify, tag


def test_classify(weft: Callable, models: dict[str, Path]) -> None:
    status, out, err = weft("classify", "--model", models["classify"], "w1 w2")
    assert status == 0 and err == "" and re.fullmatch(r"LABEL_\d\tLABEL_0 0\.\d{4}\tLABEL_1 0\.\d{4}\n", out)
    status, out, err = weft("classify", "--model", models["classify"], "--json", stdin=f"{ODD}\n\n  \nw1\n".encode())
    rows = [json.loads(line) for line in out.split("\n")[:-1]]
    assert status == 0 and err == "" and [row["text"] for row in rows] == [ODD, "", "  ", "w1"]
    assert rows[1] == {"text": "", "label": None, "probabilities": {}}
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert weft("classify", "--model", models["classify"], "", "w1")[1].startswith("\nLABEL_")


def test_a_long_text_is_cut_with_a_notice(weft: Callable, models: dict[str, Path]) -> None:
    long = "w1 w2 " * 5000
    status, out, err = weft("classify", "--model", models["classify"], "w1", long)
    assert status == 0 and out.count("\n") == 2
    assert err == f"weft: note: the text {long[:30] + '…'!r} has 10002 tokens; only the window of 40 was read\n"
    status, out, err = weft("tag", "--model", models["tag"], long)
    assert status == 0 and out
    assert err == (f"weft: note: the text {long[:30] + '…'!r} has 10000 words; only the 38 in the window of 40 tokens were "
                   f"read\n")


def test_a_text_that_leaves_no_token(weft: Callable, models: dict[str, Path]) -> None:
    from weft.errors import UsageError

    with pytest.raises(UsageError, match="the text '' has no tokens, and this model puts none around a text; give it words"):
        load(models["decoder_classify"]).classify("")
    assert load(models["classify"]).classify([]) == [] and load(models["tag"]).tag(["", " "]) == [[], []]
    assert load(models["embed"]).embed([]).shape == (0, 24)
    assert weft("classify", "--model", models["decoder_classify"], "")[:2] == (0, "\n")


def test_tag(weft: Callable, models: dict[str, Path]) -> None:
    text = "w1 😀 w2, é w3"
    status, out, err = weft("tag", "--model", models["tag"], text)
    assert status == 0 and err == "" and out
    for label, found, start, end, _ in (line.split("\t") for line in out.splitlines()):
        assert label.startswith("LABEL_") and text[int(start) : int(end)] == found
    _, out, _ = weft("tag", "--model", models["tag"], "--json", stdin=f"{ODD}\n\n{text}\n".encode())
    rows = [json.loads(line) for line in out.split("\n")[:-1]]
    assert [row["text"] for row in rows] == [ODD, "", text] and rows[1]["entities"] == []
    assert all(text[one["start"] : one["end"]] == one["text"] for one in rows[2]["entities"])


@pytest.mark.parametrize(("verb", "text"), [("complete", b"w1"), ("fill", b"<mask>"), ("classify", b"w1"), ("tag", b"w1")])
def test_bytes_that_are_no_text(weft: Callable, models: dict[str, Path], verb: str, text: bytes) -> None:
    """What came before them is answered."""
    status, out, err = weft(verb, "--model", models[verb], stdin=text + b"\n\xff\n" + text)
    assert status == 2 and "standard input, line 2: byte 0xff at offset" in err and "is not UTF-8" in err
    assert out == weft(verb, "--model", models[verb], stdin=text + b"\n")[1] != ""


# ---------------------------------------------------------------- import, export, show


def test_import_and_export(weft: Callable, tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "gpt2")
    status, out, err = weft("import", source, tmp_path / "weft")
    assert (status, err) == (0, "") and re.search(r"weft: gpt2, decoder-only, [\d,]+ parameters, window 40\n$", out)
    status, out, err = weft("import", source, tmp_path / "weft")
    assert status == 2 and f"{tmp_path / 'weft'} is there already and not an empty folder; choose another, or" in err
    assert weft("import", source, tmp_path / "weft", "--overwrite")[0] == 0
    status, out, err = weft("import", source, source / "config.json")
    assert status == 2 and "is there already and not an empty folder" in err
    status, out, err = weft("import", source, source / "config.json" / "x", "--overwrite")
    assert status == 2 and "cannot write the bundle" in err and "Not a directory" in err
    status, out, err = weft("import", source, source, "--overwrite")
    assert status == 2 and "is the checkpoint itself" in err
    status, out, err = weft("export", tmp_path / "weft", tmp_path / "out")
    assert (status, out, err) == (0, f"{tmp_path / 'out'}\n", "")
    status, out, err = weft("export", tmp_path / "weft", tmp_path / "out", "--family", "bert")
    assert status == 2 and "is there already and not an empty folder" in err
    status, out, err = weft("export", tmp_path / "weft", tmp_path / "new", "--family", "bert")
    assert status == 2 and "the format of bert is for other models than this one, which is decoder-only" in err
    status, out, err = weft("show", "model", source)
    assert status == 2 and "It looks like a Hugging Face checkpoint, which has to be imported first." in err
    edit(source / "config.json", temper=3)
    status, out, err = weft("import", source, tmp_path / "again")
    assert status == 2 and "keys that Weft does not know: temper = 3" in err and "--ignore-keys" in err
    assert weft("import", source, tmp_path / "again", "--ignore-keys", "temper")[0] == 0
    (source / "config.json").write_text("[")
    status, out, err = weft("import", source, tmp_path / "bad")
    assert status == 2 and err.startswith("weft: error: ") and "is not JSON" in err and "Traceback" not in err


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_shown(weft: Callable, tmp_path: Path, name: str) -> None:
    path = bundle(tmp_path / "m", name)
    status, out, err = weft("show", "model", path)
    assert status == 0 and err == "" and f"imported from {name}" in out
    total = count(open_bundle(path).config)
    assert f", {total:,} parameters, " in out
    rows = [line.split() for line in out.splitlines() if re.search(r"  [\d,]+  \d+$", line)]
    assert sum(int(row[-2].replace(",", "")) * int(row[-1]) for row in rows) == total
    assert len(weft("show", "model", path, "--every-layer")[1]) >= len(out)


@pytest.mark.parametrize(("name", "near", "far"), [("gemma3", 10000.0, 1000000.0), ("modernbert", 10000.0, 160000.0)])
def test_positions_of_local_layers_are_shown(weft: Callable, tmp_path: Path, name: str, near: float, far: float) -> None:
    _, out, _ = weft("show", "model", bundle(tmp_path / "m", name))
    assert f"  position: rotary (base {far})\n" in out and f"  position in local layers: rotary (base {near})\n" in out


@pytest.mark.parametrize("verb", ["complete", "fill", "classify", "tag", "import", "export", "show", "translate"])
def test_help_has_examples(weft: Callable, verb: str) -> None:
    status, out, err = weft(verb, "--help")
    assert status == 0 and err == "" and f"examples:\n  weft {verb} " in out
    assert max(map(len, out.splitlines())) < 140
