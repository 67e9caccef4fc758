"""weft bench: what it measures, what it makes of that, and what becomes of a program that cannot take part."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import bundle
from weft.bench import measure, peers
from weft.bench.contest import Lap, Race, Work, apart
from weft.bench.measure import Spread, spread
from weft.bundle import open_bundle

FAST = ("--seconds", 0, "--batch", 1, 3, "--prompt-tokens", 6, "--new-tokens", 4)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BEYOND_CACHES", 1 << 20)


@pytest.mark.parametrize("family,searches", [("marian", [1, 3]), ("gpt2", [1]), ("bert", [1])])
def test_every_kind_of_model(weft: Callable[..., Any], tmp_path: Path, family: str, searches: list[int]) -> None:
    status, out, err = weft("bench", bundle(tmp_path / "b", family), *FAST, "--beams", 3, "--no-peers", "--json",
                            "--precision", "fp32", "int8")
    found = json.loads(out)
    assert status == 0 and err == "" and found["left_out"] == {}
    names = ["weft fp32", "weft int8"]
    assert [(row["batch"], row["beams"], row["name"]) for row in found["rows"]] == [
        (batch, beams, name) for batch in (1, 3) for beams in searches for name in names]
    for row in found["rows"]:
        assert row["laps"] >= 3 and row["memory_bytes"] > 10e6 and row["read"] == 6
        assert 0 < row["read_tokens_per_second"]["low"] <= row["read_tokens_per_second"]["high"] and row["read_share"] > 0
        assert ("first_token_seconds" in row) == ("texts_per_second" not in row) == (family != "bert")
    assert {"float32", "int8"} <= set(found["machine"]["operations_per_second"])
    assert str(1 << 20) in found["machine"]["read_bytes_per_second"]


def test_the_table_has_a_line_for_each(weft: Callable[..., Any], tmp_path: Path) -> None:
    status, out, _ = weft("bench", bundle(tmp_path / "b", "gpt2"), *FAST, "--no-peers", "--precision", "bf16")
    assert status == 0 and "decoder-only" in out and "GB/s over" in out and "GOP/s" in out
    assert out.count("  weft bf16  ") == 2 and "batch 3, greedy, 6 tokens read and 4 new ones" in out


def test_rows_of_known_times() -> None:
    """Two laps of 8 rows, 5 + 1 new tokens: 0.1 s to the first token and 1.1 or 0.6 s in all."""
    facts = {"isa": "x", "per_token": True, "matrices": [("int8", "decoder", 1000, 500), ("float32", "head", 100, 1000)]}
    read = 1000 * 500 + 4 * 100 * 1000
    machine = {f"read {read}": Spread(9e6, 0, 0), "int8": Spread(4e6, 0, 0), "float32": Spread(1e6, 0, 0)}
    laps = [Lap(0.1, 1.1, 7), Lap(0.1, 0.6, 9), Lap(0.1, 1.1, 8)]
    row = measure._row("weft", Work(((1, 2, 3),) * 8, 6), laps, facts, machine)
    assert row["first_token_seconds"]["median"] == 0.1 and row["memory_bytes"] == 9
    assert row["decode_tokens_per_second"] == pytest.approx({"median": 8 * 5 / 1.0, "low": 40.0, "high": 8 * 5 / 0.5})
    products = 8 * 2 * (1000 * 500 / 4e6 + 100 * 1000 / 1e6)
    assert row["decode_limit"] == "products" and row["decode_share"] == pytest.approx(5 * products / 1.0)
    assert row["read_share"] == pytest.approx((24 * 2 * 1000 * 500 / 4e6 + 8 * 2 * 100 * 1000 / 1e6) / 0.1)
    alone = measure._row("weft", Work(((1, 2, 3),), 6), laps, facts, machine | {"int8": Spread(1e9, 0, 0),
                                                                              "float32": Spread(1e9, 0, 0)})
    assert alone["decode_limit"] == "memory" and alone["decode_share"] == pytest.approx(5 * (read / 9e6) / 1.0)


def test_laps_too_short_to_tell_give_no_number() -> None:
    row = measure._row("x", Work(((1, 2),), 6), [Lap(0.2, 0.1, 1)] * 3, {}, {})
    assert "decode_tokens_per_second" not in row and "read_share" not in row


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def _steady() -> tuple[Any, dict[str, Any]]:
    print("a line that is no part of the table")
    return lambda work, new: None, {}


def _broken() -> tuple[Any, dict[str, Any]]:
    raise ValueError("no such\nlayer")


def _dying(after: int) -> tuple[Any, dict[str, Any]]:
    seen: list[int] = []

    def step(work: Work, new: int) -> None:
        seen.append(new)
        if len(seen) > after:
            os._exit(3)
    return step, {}


def test_who_fails_is_left_out_with_a_reason(capfd: pytest.CaptureFixture[str]) -> None:
    with Race({"steady": _steady, "broken": _broken, "dying": partial(_dying, 4)}, 1, lambda _: None) as race:
        assert race.left_out == {"broken": "ValueError: no such layer"}
        laps = race.run(Work(((1,),), 4), 0.0)
    assert list(laps) == ["steady"] and len(laps["steady"]) >= 3
    assert race.left_out["dying"] == "its process ended with status 3"
    assert capfd.readouterr().out == ""


def test_a_call_apart() -> None:
    assert apart(os.getpid) == "" and apart(int, "x").startswith("ValueError: invalid literal")


def test_nobody_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    makers, left_out = peers.prepared(open_bundle(bundle(tmp_path / "b", "gpt2")), tmp_path / "p", 1, apart)
    assert not makers and left_out["llama.cpp"] == "not installed: llama_cpp, gguf"


def test_what_no_family_can_say_is_told(weft: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    makers, left_out = peers.prepared(open_bundle(Path(__file__).parents[2] / "models" / "fr-en"), Path("unused"), 2, apart)
    assert not makers and all("the format of marian cannot say all of this model" in reason for reason in left_out.values())


def test_hugging_face_takes_part(weft: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(peers, "NEEDED", {name: needed if name == "hugging face" else ("none",)
                                          for name, needed in peers.NEEDED.items()})
    status, out, _ = weft("bench", bundle(tmp_path / "b", "gpt2"), *FAST, "--json", "--precision", "bf16")
    found = json.loads(out)
    assert status == 0 and set(found["left_out"]) == {"ctranslate2", "llama.cpp"}
    assert {row["name"] for row in found["rows"]} == {"weft bf16", "hugging face bf16", "hugging face fp32"}


@pytest.mark.parametrize("family,sizes", [("gpt2", {"n_embd": 64}), ("llama", {"hidden_size": 64, "num_key_value_heads": 2}),
                                          ("qwen2", {"hidden_size": 64})])
def test_gguf_says_what_the_bundle_does(tmp_path: Path, family: str, sizes: dict[str, int]) -> None:
    pytest.importorskip("gguf")
    ll = pytest.importorskip("llama_cpp")
    import weft

    opened = open_bundle(bundle(tmp_path / "b", family, **sizes))
    peers._export(opened, tmp_path / "hf")
    peers._to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    prompt = [5, 9, 17, 30, 22, 11, 7, 8]
    model = ll.llama_model_load_from_file(str(tmp_path / "model.gguf").encode(), ll.llama_model_default_params())
    context = ll.llama_init_from_model(model, ll.llama_context_default_params())
    (last,) = peers._llama_decode(ll, context, [prompt], 0)
    found = np.ctypeslib.as_array(ll.llama_get_logits_ith(context, last), (opened.config.vocabulary,)).copy()
    expected = weft.load(tmp_path / "b", precision="fp32").logits([prompt])[0, -1]
    assert np.corrcoef(found, expected)[0, 1] > 0.99  # weights of 8 bits


@pytest.mark.parametrize("flags,message", [
    (["--threads", 0], "--threads is 0"), (["--batch", 0], "--batch is 0"), (["--seconds", -1], "--seconds is -1"),
    (["--precision", "int4"], "int4"), (["--new-tokens", 99999999], "--new-tokens"), (["--beams", 65], "--beams is 65"),
    (["--prompt-tokens", 9999], "do not fit the model's window of 512 and 512")])
def test_flags_that_cannot_be(weft: Callable[..., Any], flags: list[object], message: str) -> None:
    status, _, err = weft("bench", "fr-en", *flags)
    assert status == 2 and message in err


@pytest.mark.parametrize("call", [lambda engine: engine.read_speed(1 << 20, 0, 0.0),
                                  lambda engine: engine.read_speed(1 << 60, 1, 0.0),
                                  lambda engine: engine.read_speed(1 << 20, 1, float("nan")),
                                  lambda engine: engine.product_speed("int4", 1, 0.0),
                                  lambda engine: engine.product_speed("int8", 999, 0.0)])
def test_measurements_that_cannot_be(call: Callable[[Any], Any]) -> None:
    engine = pytest.importorskip("weft._native")
    with pytest.raises((ValueError, RuntimeError)):
        call(engine)


def test_what_a_pass_does_is_what_it_says() -> None:
    engine = pytest.importorskip("weft._native")
    size, seconds = engine.read_speed(3 << 20, 2, 0.0)
    assert size == 3 << 20 and len(seconds) >= 4 and min(seconds) > 0
    operations, _ = engine.product_speed("bfloat16", 1, 0.0)
    assert operations == 2 * 96 * 4096 * 1024
