"""What tasks make of examples: windows, noise, words and their tags. No model is trained here."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decode.fake import FakeRunner
from weft.data import Ragged
from weft.decode import generate_batch
from weft.errors import DataError, UsageError, WindowError
from weft.families import scratch, transformer
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.training import TrainingOptions
from weft.tasks import IGNORED, Encoded, find_task, task_names
from weft.tasks.classify import classified
from weft.tasks.complete import fit
from weft.tasks.denoise import SENTINELS, draw_spans, replace_spans
from weft.tasks.fill import encode_masked
from weft.tasks.tag import WORD, encode_words, entities, tag_words
from weft.tasks.windows import cut
from weft.text import SPECIAL_TOKENS, Tokenizer

OPTIONS = TrainingOptions(context=10**6)
ROWS = st.lists(st.lists(st.integers(80, 99), min_size=1, max_size=40), min_size=1, max_size=4)


def encoded(rows: list[list[int]]) -> Encoded:
    return Encoded(Ragged([[]] * len(rows)), Ragged(rows))


def decoder(window: int = 8) -> c.ModelConfig:
    return scratch.llama(100, 1, 16, 2, 32, window=window)


def encoder(window: int = 12) -> c.ModelConfig:
    config = scratch.modernbert(100, 1, 16, 2, 32, window=window)
    return replace(config, special=replace(config.special, prefix=(2,), suffix=(3,), mask=4))


def test_every_task_is_found() -> None:
    assert task_names() == ["classify", "complete", "denoise", "embed", "fill", "tag", "translate"]
    assert all(find_task(name).kind in ("encoder-decoder", "encoder-only", "decoder-only") for name in task_names())


@given(ROWS, st.integers(0, 99))
@settings(deadline=None)
def test_windows_are_the_texts(rows: list[list[int]], seed: int) -> None:
    for generator in (None, np.random.default_rng(seed)):
        windows, texts = list(cut(Ragged(rows), 7, generator)), [[]]
        for window, last in windows:
            assert 1 <= len(window) <= 7
            texts[-1] += window.tolist()
            if last:
                texts.append([])
        assert texts[:-1] == rows


@given(ROWS, st.integers(0, 99))
@settings(deadline=None)
def test_completion_windows(rows: list[list[int]], seed: int) -> None:
    """Fed but for the last token, each window fits the model; start, text and end are all there, once."""
    config = decoder()
    found = find_task("complete").epoch(encoded(rows), config, np.random.default_rng(seed), OPTIONS)
    texts = []
    for row in found.targets:
        assert row[0] == config.special.start and 2 <= len(row) <= config.window.target + 1
        texts += [token for token in row[1:].tolist() if token != config.special.eos]
    assert texts == [token for row in rows for token in row]


@given(ROWS, st.integers(0, 99))
@settings(deadline=None)
def test_hidden_words_can_be_put_back(rows: list[list[int]], seed: int) -> None:
    config = encoder()
    found = find_task("fill").epoch(encoded(rows), config, np.random.default_rng(seed), OPTIONS)
    restored = []
    for source, target in zip(found.sources, found.targets, strict=True):
        assert len(source) == len(target) <= config.window.source
        assert (source[0], source[-1]) == (2, 3) and (target != IGNORED).any()
        restored += np.where(target != IGNORED, target, source)[1:-1].tolist()
    assert restored == [token for row in rows for token in row]
    same = [find_task("fill").epoch(encoded(rows), config, None, OPTIONS).sources for _ in range(2)]
    assert [row.tolist() for row in same[0]] == [row.tolist() for row in same[1]]


@given(st.integers(1, 400), st.floats(0.01, 0.9), st.integers(0, 999))
@settings(deadline=None, max_examples=300)
def test_spans_can_be_put_back(length: int, share: float, seed: int) -> None:
    noise = np.random.default_rng(seed)
    window = noise.integers(500, 600, length).astype(np.int32)
    spans = draw_spans(length, share, noise)
    assert 1 <= len(spans) <= SENTINELS and all(start < end for start, end in spans)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))
    hidden = sum(end - start for start, end in spans)
    assert abs(hidden - length * share) <= 1 or hidden in (1, length)
    source, target = replace_spans(window, spans, 5)
    cuts = np.flatnonzero(target < 500)
    parts = {int(target[at]): target[at + 1 : end] for at, end in zip(cuts, [*cuts[1:], len(target)], strict=True)}
    back = np.concatenate([parts[int(token)] if token < 500 else [token] for token in source])
    assert back.tolist() == window.tolist()


@pytest.mark.parametrize("task", ["complete", "fill", "denoise"])
def test_windows_are_as_asked_and_no_longer_than_the_model(task: str) -> None:
    """A model that training begins with may have room for more, or less, than --context."""
    config = decoder(300) if task == "complete" else encoder(300)
    rows = encoded([[80] * 1000])
    for context, most in ((50, 50), (900, 300)):
        found = find_task(task).epoch(rows, config, np.random.default_rng(0), TrainingOptions(context=context))
        part = found.targets if task == "complete" else found.sources
        assert most / 2 < max(map(len, part)) <= most + 1


def test_share_of_hidden_words() -> None:
    row = np.arange(20_000) % 80 + 10
    config = encoder(20_010)
    found = find_task("fill").epoch(encoded([row.tolist()]), config, np.random.default_rng(0), OPTIONS)
    sources, targets = (np.concatenate(list(part)) for part in (found.sources, found.targets))
    chosen = targets != IGNORED
    assert chosen.mean() == pytest.approx(0.15, abs=0.01)
    assert (sources[chosen] == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert (sources[chosen] == targets[chosen]).mean() == pytest.approx(0.1, abs=0.02)


def test_infilling_gives_the_whole_text() -> None:
    config = transformer.config(100, 1, 16, 2, 32, window=200)
    config = replace(config, special=replace(config.special, mask=4))
    rows = [list(range(70, 99))]
    found = find_task("denoise").epoch(encoded(rows), config, None, TrainingOptions(objective="infill", context=200))
    assert found.targets[0].tolist() == rows[0]
    assert 4 in found.sources[0] and found.sources[0][-1] == config.special.eos and len(found.sources[0]) < 30


# ---------------------------------------------------------------- words and labels


TOKENIZER = Tokenizer.train("metaspace_bpe", ["Angela Merkel visited Sofia ."] * 9, 300,
                            special_tokens=(*SPECIAL_TOKENS, "<mask>"))


def test_words_are_found_by_their_first_token() -> None:
    special = c.SpecialTokens(prefix=(2,), suffix=(3,))
    words = ["Angela", "Quixotic", "."]
    ids, firsts = encode_words(TOKENIZER, words, special)
    assert (ids[0], ids[-1]) == (2, 3) and firsts[0] == 1
    pieces = [TOKENIZER.decode(ids[at:end]) for at, end in zip(firsts, [*firsts[1:], len(ids) - 1], strict=True)]
    assert pieces == words


def test_tagged_examples_have_a_label_a_word() -> None:
    task, examples = find_task("tag"), [("Angela Merkel visited", "B-PER I-PER O")]
    assert task.head(examples).labels == ("O", "B-PER", "I-PER")
    config = replace(encoder(), head=task.head(examples), embedding=c.Embedding("none", "none"))
    found = task.encode(TOKENIZER, examples, config)
    assert [label for label in found.targets[0].tolist() if label != IGNORED] == [1, 2, 0]
    with pytest.raises(DataError, match="label 'B-LOC' is not among those of the training data: O, B-PER, I-PER"):
        task.encode(TOKENIZER, [("Sofia", "B-LOC")], config)


def test_entities_have_the_places_of_their_characters() -> None:
    text = "Angela Merkel's visit to  Sofia, (Mr. O’Neil)"
    spans = [match.span() for match in WORD.finditer(text)]
    words = [text[start:end] for start, end in spans]
    assert words == ["Angela", "Merkel", "'s", "visit", "to", "Sofia", ",", "(", "Mr", ".", "O’Neil", ")"]
    tags = ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O", "O", "O", "O", "I-PER", "B-PER"]
    found = entities(text, spans, tags, [0.5] * len(tags))
    assert [(one.label, one.text) for one in found] == [
        ("PER", "Angela Merkel"), ("LOC", "Sofia"), ("PER", "O’Neil"), ("PER", ")")]
    assert all(text[one.start : one.end] == one.text for one in found)


class Scores:
    """A runner that gives each text the logits of its turn."""

    def __init__(self, *logits: list[list[float]]) -> None:
        self.logits = logits

    def score_all(self, rows: list[list[int]]) -> list[np.ndarray]:
        return [np.pad(np.array(scores, np.float32), ((1, len(row) - len(scores) - 1), (0, 0)))
                for row, scores in zip(rows, self.logits, strict=True)]


def test_words_past_the_window_and_texts_without_words() -> None:
    config = replace(encoder(4), head=c.TagHead(("O", "B-PER")), embedding=c.Embedding("none", "none"))
    runner = Scores([[0.0, 2.0]], [[2.0, 0.0]])
    found = tag_words(runner, TOKENIZER, config, [["Sofia", "visited"] * 3, [], ["visited"]])
    assert found[1] == ([], []) and found[0][0][0] == "B-PER" and len(found[0][0]) < 6 and found[2][0] == ["O"]
    many = [" ".join(["Sofia"] * 20)] * 2
    tags = find_task("tag").predict(Scores([[0.0, 2.0]], [[0.0, 2.0]]), TOKENIZER, config, many)
    assert [len(row.split()) for row in tags] == [20, 20] and tags[0].startswith("B-PER") and tags[0].endswith("O O O")


def test_a_single_label_is_there_or_not() -> None:
    """ELECTRA's discriminator."""
    config = replace(encoder(), head=c.TagHead(("replaced",)), embedding=c.Embedding("none", "none"))
    (tags, shares), = tag_words(Scores([[2.0]]), TOKENIZER, config, [["Sofia"]])
    assert tags == ["replaced"] and shares == [pytest.approx(1 / (1 + np.exp(-2)))]
    (tags, shares), = tag_words(Scores([[-2.0]]), TOKENIZER, config, [["Sofia"]])
    assert tags == ["O"] and shares == [pytest.approx(1 / (1 + np.exp(-2)))]


def test_probabilities_of_classes() -> None:
    head = c.ClassificationHead(("a", "b", "c"))
    config = replace(encoder(), head=head, embedding=c.Embedding("none", "none"))
    (one,) = classified([np.array([0.0, 2.0, -1.0], np.float32)], config)
    assert one.label == "b" and sum(one.probabilities.values()) == pytest.approx(1.0)
    many = replace(config, head=replace(head, multi_label=True))
    (one,) = classified([np.array([0.0, 2.0, -1.0], np.float32)], many)
    assert one.probabilities["a"] == pytest.approx(0.5)


def test_hidden_words_of_a_user() -> None:
    special = c.SpecialTokens(mask=4, prefix=(2,), suffix=(3,))
    ids, places = encode_masked(TOKENIZER, special, "Angela [MASK] visited <mask>.")
    assert [ids[at] for at in places] == [4, 4] and ids.count(4) == 2
    with pytest.raises(UsageError, match=r"no hidden word in 'Angela': write \[MASK\]"):
        encode_masked(TOKENIZER, special, "Angela")
    with pytest.raises(UsageError, match="no mask token"):
        encode_masked(TOKENIZER, replace(special, mask=None), "[MASK]")


# ---------------------------------------------------------------- the window of a prompt


def test_prompts_fit_or_are_cut() -> None:
    config = decoder(10)
    config = replace(config, special=replace(config.special, prefix=(2,)))
    prompt = [2, *range(50, 59)]
    def new(most: int | None, **options: Any) -> GenerationOptions:
        return GenerationOptions(max_new_tokens=most, **options)
    assert fit(prompt[:8], config, new(3), "refuse") == prompt[:8]
    message = "the prompt has 10 tokens; with 4 new ones, the last of which is not read, that is 3 more than the model's window"
    with pytest.raises(WindowError, match=message):
        fit(prompt, config, new(4), "refuse")
    assert fit(prompt, config, new(4), "left") == [2, *prompt[4:]]
    assert fit(prompt, config, new(10), "left") == [prompt[-1]]
    with pytest.raises(WindowError, match="with 11 new ones"):
        fit(prompt, config, new(11), "left")
    with pytest.raises(WindowError, match=r"with 4 new ones, .* 3 more than .* ask for fewer new tokens \(min_new_tokens\)"):
        fit(prompt, config, new(None, min_new_tokens=4), "refuse")
    with pytest.raises(UsageError, match="truncate is 'lef'; it must be 'refuse' or 'left'; the nearest is 'left'"):
        fit(prompt, config, new(1), "lef")


@pytest.mark.parametrize("search", [{}, {"penalty_alpha": 0.5, "top_k": 2}], ids=str)
def test_a_prompt_fits_where_decoding_finds_room_and_nowhere_else(search: dict[str, Any]) -> None:
    """`fit` and the loop agree at the border, and the model's positions are used to the last."""
    window = FakeRunner.max_target
    for length in (1, 2, 30, window - 1, window, window + 1):
        for most in (0, 1, 2, window - length, window - length + 1, window - length + 2):
            if most < 0:
                continue
            options, prompt = GenerationOptions(max_new_tokens=most, banned=(3,), **search), [5] * length
            fits = most == 0 or length + most - (0 if search else 1) <= window
            assert _does(fit, prompt, decoder(window), options, "refuse") == fits, (length, most)
            assert _does(generate_batch, FakeRunner(8), None, options, prompts=[prompt]) == fits, (length, most)


def _does(call: Any, *arguments: Any, **more: Any) -> bool:
    try:
        call(*arguments, **more)
    except WindowError:
        return False
    return True
