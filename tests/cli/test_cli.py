"""The command as a user runs it: what it prints, its exit status, and the message for each bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import toy_pairs, write_pairs

TEXTS = ["one two.", "", "three four five."]


def test_texts_and_lines_give_the_same(weft, tiny_bundle: Path) -> None:
    status, out, err = weft("translate", "--model", tiny_bundle, *TEXTS)
    assert status == 0 and err == "" and out.count("\n") == 3 and out.split("\n")[1] == ""
    lines = "\n".join(TEXTS).encode()
    for stdin in (lines, lines + b"\n", lines.replace(b"\n", b"\r\n")):
        assert weft("translate", "--model", tiny_bundle, stdin=stdin)[1] == out
        assert weft("translate", "--model", tiny_bundle, "--batch-lines", 1, stdin=stdin)[1] == out
    assert weft("translate", "--model", tiny_bundle, stdin=b"") == (0, "", "")


def test_sampling_does_not_depend_on_batches(weft, tiny_bundle: Path) -> None:
    lines = b"one.\n\ntwo three.\n" + b"one two three four. " * 8 + b"\nfour.\n"
    outputs = {weft("translate", "--model", tiny_bundle, "--sample", "--seed", 5, "--max-new-tokens", 6,
                    "--batch-lines", size, stdin=lines)[1] for size in (1, 2, 64)}
    assert len(outputs) == 1


def test_n_best_and_scores(weft, tiny_bundle: Path) -> None:
    _, out, _ = weft("translate", "--model", tiny_bundle, "--beam", 3, "--n-best", 2, "--scores", *TEXTS)
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[1] for row in rows] == ["1", "1", "2", "3", "3"]
    assert float(rows[0][0]) >= float(rows[1][0])


def test_lines_stream_before_the_input_ends(tiny_bundle: Path) -> None:
    """A slow pipe gets its answer before it sends the next line."""
    process = subprocess.Popen([sys.executable, "-m", "weft", "translate", "--model", str(tiny_bundle)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    for text in (b"one.\n", b"two.\n"):
        process.stdin.write(text)
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
    process.stdin.close()
    assert process.wait(20) == 0


@pytest.mark.parametrize("arguments,message", [
    (["translat"], "unknown verb 'translat'. Did you mean 'translate'?"),
    (["translate", "--beems", "3"], "unknown option of weft translate '--beems'. Did you mean '--beams'?"),
    (["translate", "--model", "MODEL", "--top-p", "0.9", "a"], "top_p=0.9 does nothing without sampling"),
    (["translate", "--model", "MODEL", "--n-best", "3", "a"], "n_best is 3, more than the 2 beams"),
    (["translate", "--model", "nowhere", "a"], "no model 'nowhere'"),
    (["translate", "--model", "FOLDER", "a"], "is no bundle: it lacks config.json"),
    (["translate", "--model", "MODEL", "--too-long", "refuse", "one two three. " * 30], "model's window is 40"),
    (["evaluate", "MODEL", "--data", "FOLDER/none.tsv"], "no file"),
    (["evaluate", "MODEL", "--data", "PAIRS", "--source-column", "-1"], "source_column is -1; it must be 0 or more"),
    (["evaluate", "MODEL", "--data", "PAIRS", "--output", "FOLDER/no/x.txt"], "no folder FOLDER/no; make it first"),
    (["evaluate", "MODEL", "--data", "PAIRS", "--output", "FOLDER"], "is a folder; name a file in it"),
    (["evaluate", "MODEL", "--data", "PAIRS", "--tokenized-bleu", "german"], "unknown Moses language 'german'"),
    (["train", "FOLDER/none.tsv", "--steps", "1", "--out", "FOLDER/x"], "no file"),
    (["train", "FOLDER/none.toml"], "no recipe"),
    (["train"], "no training data: name at least one file"),
    (["train", "a.tsv", "--minutes", "2", "--steps", "3"], "minutes and steps contradict each other"),
    (["train", "a.tsv", "--dropout", "1.5"], "dropout is 1.5; it must be 0 to below 1"),
    (["train", "a.tsv", "--family", "rnn", "--heads", "4"], "heads: a recurrent model has none"),
    (["train", "a.toml", "b.tsv"], "a.toml, b.tsv: a recipe (.toml) stands alone"),
    (["train", "a.tsv", "--task", "translat"], "unknown task 'translat'. Did you mean 'translate'?"),
    (["train", "a.tsv", "--steps", "-1"], "steps is -1; it must be above 0"),
    (["train", "PAIRS", "--steps", "1", "--size", "smal", "--out", "FOLDER/x"], "unknown size 'smal'. Did you mean 'small'?"),
])
def test_bad_requests(weft, tiny_bundle: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    pairs = write_pairs(tmp_path / "pairs.tsv", toy_pairs(50))
    named = {"MODEL": tiny_bundle, "PAIRS": pairs}
    filled = [str(named.get(word, word.replace("FOLDER", str(tmp_path)))) for word in arguments]
    status, out, err = weft(*filled)
    message = message.replace("FOLDER", str(tmp_path))
    assert status == 2 and out == "" and err.startswith("weft: error: ") and message in err


def test_bad_bytes_name_line_and_offset(weft, tiny_bundle: Path) -> None:
    status, out, err = weft("translate", "--model", tiny_bundle, stdin=b"one.\ntwo \xff.\n")
    assert status == 2 and out.count("\n") == 1, "what came before is translated"
    assert "standard input, line 2: byte 0xff at offset 9 (column 4 of the line) is not UTF-8" in err


def test_a_long_line_is_split_with_a_notice(weft, tiny_bundle: Path) -> None:
    status, out, err = weft("translate", "--model", tiny_bundle, "one two three four. " * 8)
    assert status == 0 and out.count("\n") == 1
    assert "weft: note: input 1 has" in err and "more than the model's window of 40" in err


def test_help_and_version(weft) -> None:
    assert "weft translate" in weft("--help")[1] and weft()[0] == 0
    assert weft("--version")[1].startswith("weft 0.")
    for verb in ("translate", "train", "evaluate"):
        status, out, _ = weft(verb, "--help")
        assert status == 0 and "examples:" in out and f"weft {verb}" in out


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`weft` in a shell, as a user's pipeline runs it."""
    return subprocess.run(["bash", "-c", command.replace("weft", f"'{sys.executable}' -m weft", 1)], text=True,
                          capture_output=True, env=os.environ | environment, encoding="utf-8")


@pytest.mark.parametrize("rest", ["| true", "| head -1", ">&-", "2>&-"])
def test_a_reader_that_has_gone_is_no_error(tiny_bundle: Path, rest: str) -> None:
    for verb in ("--help", f"translate --model {tiny_bundle} --batch-lines 1 --max-new-tokens 2"):
        done = shell(f"yes one. | head -100 | (weft {verb} {rest})" if verb != "--help" else f"weft --help {rest}")
        assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_in_a_line(tiny_bundle: Path) -> None:
    for verb in ("--help", f"translate --model {tiny_bundle} --max-new-tokens 2 one."):
        done = shell(f"weft {verb} > /dev/full")
        assert (done.returncode, done.stderr) == (2, "weft: error: No space left on device\n")


def test_closed_input(tiny_bundle: Path) -> None:
    done = shell(f"weft translate --model {tiny_bundle} <&-")
    assert (done.returncode, done.stderr) == (2, "weft: error: no text is given and standard input is closed\n")


def test_output_is_utf8_whatever_the_locale() -> None:
    done = shell("weft translate --model en-fr 'Where is the station?'", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.startswith("Où est la gare")


def test_output_to_a_device_does_not_replace_it(weft, tiny_bundle: Path, tmp_path: Path) -> None:
    data, pipe = write_pairs(tmp_path / "test.tsv", toy_pairs(3)), tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert weft("evaluate", tiny_bundle, "--data", data, "--max-new-tokens", 2, "--output", pipe)[0] == 0
    assert pipe.is_fifo() and os.read(reader, 10000).count(b"\n") == 3
    os.close(reader)


def test_evaluate(weft, tiny_bundle: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "test.tsv", [(source, target) for target, source in toy_pairs(20)])
    status, out, _ = weft("evaluate", tiny_bundle, "--data", data, "--source-column", 1, "--target-column", 0,
                          "--confidence", "--tokenized-bleu", "de", "--beam", 3, "--n-best", 2,
                          "--output", tmp_path / "out.txt", "--max-new-tokens", 5)
    assert status == 0
    for part in ("sacreBLEU", "±", "nrefs:1|bs:1000", "tok:13a", "chrF2", "lc|moses.de", "oracle of 2-best", "20 lines of"):
        assert part in out
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 20


def test_evaluate_without_sacrebleu(weft, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    status, _, err = weft("evaluate", tiny_bundle, "--data", write_pairs(tmp_path / "test.tsv", toy_pairs(3)))
    assert status == 2 and "BLEU and chrF need the package sacrebleu: pip install 'weft[eval]'" in err


def test_recipe_flags_and_another_run(weft, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.tsv", toy_pairs(60))
    recipe = tmp_path / "r.toml"
    recipe.write_text('data = "pairs.tsv"\nsize = "tiny"\nsteps = 3\nwidth = 16\nlayers = 1\nheads = 2\nsamples = 0\n')
    command = ["train", recipe, "--data-root", tmp_path, "--out", tmp_path / "out", "--threads", 1]
    status, _, err = weft(*command)
    assert status == 0 and "all updates are done, after update 3" in err and (tmp_path / "out" / "manifest.json").exists()
    assert "already finished after update 3" in weft(*command)[2]
    status, _, err = weft(*command, "--width", 32)
    assert status == 2 and "holds another run: width 16 there, 32 here" in err and "--overwrite" in err
    assert weft(*command, "--width", 32, "--overwrite")[0] == 0
    recipe.write_text('stpes = 3\n')
    assert "unknown key 'stpes'. Did you mean 'steps'?" in weft("train", recipe)[2]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.txt").write_text("x")
    status, _, err = weft("train", tmp_path / "pairs.tsv", "--steps", 1, "--out", tmp_path / "docs")
    assert status == 2 and "holds something else (thesis.txt)" in err


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.tsv", toy_pairs(300))
    command = [sys.executable, "-m", "weft", "train", str(pairs), "--steps", "100000", "--out", str(tmp_path / "out"),
               "--width", "16", "--layers", "1", "--heads", "2", "--threads", "1", "--samples", "0"]
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        metrics = tmp_path / "out" / "run" / "metrics.jsonl"
        before = metrics.stat().st_size if metrics.exists() else 0
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size > before) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and "Give the same command to go on." in err
        assert (tmp_path / "out" / "manifest.json").exists()
    assert "going on from update" in err
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines() if '"progress"' in line]
    assert steps == sorted(set(steps))
