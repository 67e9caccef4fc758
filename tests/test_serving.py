"""A Model for many threads: what each gets is what the model gives alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import weft
from tests import bundles
from weft.decode.scheduler import Ticket
from weft.errors import UsageError, WindowError
from weft.model import Model, load
from weft.serving import Serving

TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w11 w3 w3", "w7 w7"]
SEARCHES: list[dict[str, Any]] = [
    {"max_new_tokens": 8}, {"beams": 3, "n_best": 2, "max_new_tokens": 9}, {"sample": True, "seed": 4, "max_new_tokens": 12},
    {"sample": True, "n": 3, "max_new_tokens": 6}, {"sample": True, "mbr": 3, "max_new_tokens": 6},
    {"stop": ["w4"], "max_new_tokens": 12}, {"lookup": 2, "max_new_tokens": 9}, {"logprobs": 2, "max_new_tokens": 5}]


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: load(bundles.bundle(folder / name, name), backend="native", precision="int8") for name in ("marian", "gpt2")}


def in_threads(*asks: Callable[[], Any]) -> list[Any]:
    found: list[Any] = [None] * len(asks)

    def ask(place: int) -> None:
        found[place] = asks[place]()
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("name", ["marian", "gpt2"])
def test_threads_get_what_the_model_gives_alone(models: dict[str, Model], name: str) -> None:
    texts = TEXTS if name == "marian" else [text for text in TEXTS if text]
    with Serving(models[name], rows=9, chunk=3) as serving:
        found = in_threads(*(lambda search=search: serving.generate(texts, **search) for search in SEARCHES))
    assert found == [models[name].generate(texts, **search) for search in SEARCHES]


@pytest.mark.parametrize("name", ["marian", "gpt2"])
def test_streams_side_by_side(models: dict[str, Model], name: str) -> None:
    asked = [(text, search) for text in TEXTS[:2] for search in SEARCHES[:3]]
    with Serving(models[name]) as serving:
        found = in_threads(*(lambda text=text, search=search: list(serving.stream(text, **search)) for text, search in asked))
    assert found == [list(models[name].stream(text, **search)) for text, search in asked]


def test_on_pytorch_threads_take_turns(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = load(bundles.bundle(tmp_path / "marian", "marian"), backend="torch")
    with Serving(model) as serving:
        found = in_threads(*(lambda text=text: serving.generate(text, beams=2, max_new_tokens=6) for text in TEXTS))
    assert found == [model.generate(text, beams=2, max_new_tokens=6) for text in TEXTS]


def test_a_stream_that_is_closed_is_cancelled(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[Ticket] = []
    monkeypatch.setattr(Ticket, "cancel", lambda ticket: cancelled.append(ticket))
    with Serving(models["gpt2"], rows=1) as serving:
        events: Iterator[Any] = serving.stream("w1", max_new_tokens=30, min_new_tokens=30)
        next(events)
        assert not cancelled
        events.close()  # type: ignore[attr-defined]
        assert len(cancelled) == 1


def test_what_else_a_model_does_is_each_threads_own(models: dict[str, Model]) -> None:
    model, texts = models["gpt2"], [text for text in TEXTS if " " in text]
    with Serving(model) as serving:
        found = in_threads(*(lambda text=text: (serving.score(text), serving.generate(text, prompt_logprobs=True)[0])
                             for text in texts))
    assert found == [(model.score(text), model.generate(text, prompt_logprobs=True)[0]) for text in texts]


def test_notices_are_of_the_thread_that_asked(models: dict[str, Model]) -> None:
    with Serving(models["gpt2"]) as serving:
        def ask(text: str) -> list[str]:
            serving.complete(text, truncate="left", max_new_tokens=4)
            return serving.notices
        long, short = in_threads(lambda: ask(" ".join(["w1"] * 60)), lambda: ask("w1"))
    assert len(long) == 1 and "60 tokens" in long[0] and short == []


def test_errors_come_to_who_asked(models: dict[str, Model]) -> None:
    with Serving(models["gpt2"], rows=4, positions=50) as serving:
        with pytest.raises(WindowError):
            serving.complete("w1", max_new_tokens=5000)
        with pytest.raises(UsageError, match="may take 5 rows, and all requests together have 4"):
            serving.complete("w1", beams=5, max_new_tokens=3)
        with pytest.raises(UsageError, match="forced_words take 2 tokens"):  # found out by the thread that decodes
            serving.complete("w1", beams=2, forced_words=["w3 w4"], max_new_tokens=1)
    with pytest.raises(UsageError, match="closed"):
        serving.complete("w1", max_new_tokens=3)


def test_a_model_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not generate text"):
        weft.Serving(load(bundles.bundle(tmp_path / "bert", "bert"), backend="native"))


def test_a_shortlist_is_refused(tmp_path: Path) -> None:
    model = weft.load(bundles.bundle(tmp_path / "b", "bart"))
    with weft.Serving(model) as serving, pytest.raises(UsageError, match="shortlist"):
        serving.generate([[5, 6]], max_new_tokens=2, shortlist=True)
