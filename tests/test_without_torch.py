"""With PyTorch not installed, what only runs models works on the native engine, and the rest says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import bundles
from weft.bundle import save_bundle
from weft.families import rnn
from weft.spec.parameters import parameters
from weft.text import Tokenizer

pytest.importorskip("weft._native")
BLOCKED = "import sys; sys.modules['torch'] = None\n"
TEXTS = ["w1 w2 w3 w4", "w7"]


def told(code: str, *, blocked: str = BLOCKED) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(line: str) -> str:
    return told(f"from weft.cli import run\nassert run({line.split('|')!r}) == 0")


@pytest.mark.parametrize(("line", "wanted"), [
    ("translate|J'aime l'apprentissage automatique", "I love machine learning\n"),
    ("translate|--model|en-fr|--beam|5|--n-best|2|--scores|I love you.", "Je t'aime."),
    ("translate|--sample|--seed|3|--draft|fr-en|--precision|fp32|Bonjour.", "."),
    ("complete|ROMEO:|--model|shakespeare|--max-new-tokens|5", ""),
    ("classify|a gripping, funny film", "positive\t"),
    ("tag|Angela Merkel visited Sofia.", "PER\tAngela Merkel\t0\t13\t"),
    ("explain|Bonjour.", "result\n'Good morning.'"),
    ("doctor|sentiment", "all hold"),
    ("show|model|ner|--engine", "kernels, int8"),
])
def test_shipped_models_run(line: str, wanted: str) -> None:
    assert wanted in command(line)


def test_evaluating(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("Bonjour.\tHello.\nMerci beaucoup.\tThank you very much.\n", encoding="utf-8")
    assert "sacreBLEU" in command(f"evaluate|fr-en|--data|{tmp_path / 'pairs.tsv'}")


def test_the_api() -> None:
    """Scores, traces, streams, several models as one."""
    code = """
import weft
model = weft.load("fr-en")
assert (model.backend, model.precision) == ("native", "int8")
print(model.score("Bonjour.", "Hello.").finished, model.logits([[5, 3]], [[2, 7]]).shape)
trace = model.trace("Bonjour.")
print(len(trace.requests), [event.text for event in model.stream("Merci.") if hasattr(event, "text")])
both = weft.ensemble(["fr-en", model], weights=[2, 1])
print(both.translate(["Merci."]) == model.translate(["Merci."]))
print(model.translate("Merci.", draft=model), model.translate("Merci.", lookup=3))
"""
    lines = told(code).splitlines()
    assert lines[0] == "True (1, 2, 8000)"
    assert lines[2] == "True"
    assert lines[3] == "Thank you. Thank you."


def test_filling_in_and_embedding(tmp_path: Path) -> None:
    fill = bundles.bundle(tmp_path / "fill", "bert", around=True)
    embed = bundles.bundle(tmp_path / "embed", "bert", "embedding", around=True)
    code = f"""
import weft
print(len(weft.load({str(fill)!r}).fill("w1 <mask> w3")[0]), weft.load({str(embed)!r}).embed({TEXTS!r}).shape[0])
"""
    assert told(code) == f"5 {len(TEXTS)}\n"


def test_training_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\n")
    code = f"""
import weft
try: next(weft.train(data=({str(tmp_path / 'pairs.tsv')!r},)))
except weft.WeftError as error: print(error)
"""
    assert told(code) == "training needs PyTorch: pip install 'weft[torch]'\n"


def recurrent(folder: Path) -> Path:
    tokenizer = Tokenizer.train("word", ["a b c d e f"] * 9, 40)
    config = rnn.config(tokenizer.vocabulary_size, 8, 8, layers=1).with_tokenizer(tokenizer.fingerprint,
                                                                                  tokenizer.vocabulary_size)
    weights = {name: np.zeros(row.shape, np.float32) for name, row in parameters(config).items() if row.tie is None}
    return save_bundle(folder, config, weights, tokenizer.to_json(), {}, "# small\n")


@pytest.mark.parametrize(("blocked", "options", "message"), [
    (BLOCKED, {}, "the native engine does not know recurrent stacks, and running it on the torch backend needs PyTorch: pip "
                  "install 'weft[torch]'"),
    (BLOCKED, {"backend": "torch"}, "running it on the torch backend needs PyTorch: pip install 'weft[torch]'"),
    ("", {"backend": "native"}, "the native engine does not know recurrent stacks; use the torch backend: pip install "
                                "'weft[torch]' and --backend torch"),
    ("", {"precision": "int8"}, "the native engine does not know recurrent stacks, and PyTorch computes in fp32 or bf16; leave "
                                "out precision int8"),
    (BLOCKED + "sys.modules['weft._native'] = None\n", {}, "this installation has no native engine, for want of a C++ compiler "
                                                           "when it was built, and running it on the torch backend needs"),
    ("", {"backend": "tensorflow"}, "backend is 'tensorflow'; it must be 'auto', 'native' or 'torch'"),
    ("", {"precision": "fp31"}, "precision is 'fp31'; it must be 'auto', 'fp32', 'bf16' or 'int8'; the nearest is 'fp32'"),
])
def test_what_cannot_run_a_model_says_why(tmp_path: Path, blocked: str, options: dict[str, str], message: str) -> None:
    code = f"""
import weft
try: weft.load({str(recurrent(tmp_path / "model"))!r}, **{options!r}).translate("a")
except weft.WeftError as error: print(error)
"""
    assert message in told(code, blocked=blocked)


def test_without_the_engine_torch_runs_models() -> None:
    code = """
import weft
model = weft.load("sentiment")
print(model.backend, model.precision, model.classify("a gripping, funny film").label)
"""
    assert told(code, blocked="import sys; sys.modules['weft._native'] = None\n") == "torch fp32 positive\n"


@pytest.mark.parametrize("line", ["translate|Bonjour.", "classify|fine", "tag|Sofia", "explain|Bonjour."])
def test_a_verb_that_runs_on_the_engine_imports_no_torch(line: str) -> None:
    code = f"""
from weft.cli import run
import sys
assert run({line.split('|')!r}) == 0
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    assert told(code, blocked="").splitlines()[-1] == "[]"
