"""What `import weft` and `weft --help` load, and the public names."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import weft

SLOW = ("torch", "numpy", "sacrebleu", "rich", "tokenizers", "safetensors")


@pytest.mark.parametrize("code", ["import weft", "from weft.cli import run; run(['--help'])"])
def test_nothing_slow_is_loaded_and_it_is_quick(code: str) -> None:
    check = f"{code}\nimport sys\nprint([name for name in {SLOW!r} if name in sys.modules])"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert done.stdout.splitlines()[-1] == "[]"
    assert min(seconds) < 0.3


@pytest.mark.parametrize("verb", ["translate", "complete", "fill", "classify", "tag", "import", "export", "show", "explain",
                                  "doctor"])
def test_help_of_a_verb_loads_no_torch(verb: str) -> None:
    check = (f"from weft.cli import run; run([{verb!r}, '--help'])\nimport sys\n"
             "print([name for name in ('torch', 'transformers', 'sacrebleu', 'huggingface_hub') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_public_names() -> None:
    assert weft.__all__ == ["DecodingTrace", "GenerationOptions", "Model", "ModelConfig", "Result", "Serving", "Tokenizer",
                            "Trace", "TrainingOptions", "WeftError", "__version__", "ensemble", "load", "train"]
    for name in weft.__all__:
        assert getattr(weft, name) is not None
    assert callable(weft.train)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        weft.trian  # noqa: B018
