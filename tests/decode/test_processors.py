"""Every processor against Hugging Face's, or against the slow obvious form where Hugging Face has none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.decode.fake import FakeRunner, following
from weft.decode import generate_batch
from weft.decode.chain import Chain
from weft.decode.processors import processors, processors_for
from weft.decode.rows import Request, Rows
from weft.errors import UnknownNameError, UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.presets import PRESETS, preset

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers.generation.logits_process")

EOS, LIMIT = 3, 9
ROUNDS = 25
Ids = Sequence[int]


def random_rows(rng: np.random.Generator, prompted: bool) -> Rows:
    """Ragged sources or prompts, few different tokens, so that things repeat."""
    count, step, kinds = int(rng.integers(1, 6)), int(rng.integers(0, LIMIT)), int(rng.choice([2, 8]))
    def ids(length: int) -> list[int]:
        return rng.integers(0, kinds, length).tolist()
    given = [ids(int(rng.integers(1, 12))) for _ in range(count)]
    requests = [Request(i, LIMIT - int(rng.integers(0, LIMIT - step)), source=() if prompted else item,
                        prompt=item if prompted else [2]) for i, item in enumerate(given)]
    return Rows(requests, np.array([ids(step) for _ in range(count)], np.int64).reshape(count, step), frozenset({EOS}))


def random_logits(rng: np.random.Generator, rows: int, vocabulary: int) -> np.ndarray:
    """Spread or nearly flat; often with forbidden tokens, sometimes with all but one forbidden."""
    logits = rng.normal(scale=rng.choice([0.01, 1.0, 8.0]), size=(rows, vocabulary)).astype(np.float32)
    for row in logits:
        forbidden = rng.permutation(vocabulary)[: rng.choice([0, 0, vocabulary // 3, vocabulary - 1])]
        row[forbidden] = -np.inf
    return logits


def reference(make: Callable[[Ids], Any], logits: np.ndarray, rows: Rows) -> np.ndarray:
    """Row by row, so that no padding comes in. make: a row's source or prompt -> Hugging Face's processor."""
    out = [make(list(request.source or request.prompt))(torch.from_numpy(rows.history(row))[None],
                                                        torch.from_numpy(logits[row : row + 1]))
           for row, request in enumerate(rows.requests)]
    return torch.cat(out).numpy()


def encoder_ids(ids: Ids) -> Any:
    return torch.tensor([ids])


ORACLES: list[tuple[dict[str, Any], Callable[[Ids], Any]]] = [
    *(({"sample": True, "temperature": t}, lambda ids, t=t: hf.TemperatureLogitsWarper(t)) for t in (0.01, 0.7, 3.0, 100.0)),
    *(({"sample": True, "top_k": k}, lambda ids, k=k: hf.TopKLogitsWarper(k)) for k in (1, 2, 7, 1000)),
    *(({"sample": True, "top_p": p}, lambda ids, p=p: hf.TopPLogitsWarper(p)) for p in (0.001, 0.3, 0.9, 0.999)),
    *(({"sample": True, "min_p": p}, lambda ids, p=p: hf.MinPLogitsWarper(p)) for p in (0.001, 0.1, 0.9, 1.0)),
    *(({"sample": True, "typical_p": p}, lambda ids, p=p: hf.TypicalLogitsWarper(p)) for p in (0.001, 0.2, 0.9, 0.999)),
    *(({"sample": True, "epsilon_cutoff": e}, lambda ids, e=e: hf.EpsilonLogitsWarper(e)) for e in (1e-4, 0.02, 0.3, 0.999)),
    *(({"sample": True, "eta_cutoff": e}, lambda ids, e=e: hf.EtaLogitsWarper(e)) for e in (1e-4, 0.02, 0.3, 0.999)),
    *(({"repetition_penalty": p}, lambda ids, p=p: hf.RepetitionPenaltyLogitsProcessor(p)) for p in (0.3, 1.3, 100.0)),
    *(({"encoder_repetition_penalty": p},
       lambda ids, p=p: hf.EncoderRepetitionPenaltyLogitsProcessor(p, encoder_ids(ids))) for p in (0.3, 1.3, 100.0)),
    *(({"no_repeat_ngram": n}, lambda ids, n=n: hf.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3, 5, 50)),
    *(({"encoder_no_repeat_ngram": n},
       lambda ids, n=n: hf.EncoderNoRepeatNGramLogitsProcessor(n, encoder_ids(ids))) for n in (1, 2, 3, 5, 50)),
    ({"logit_bias": ((0, 2.5), (4, -np.inf), (5, -0.5))},
     lambda ids: hf.SequenceBiasLogitsProcessor({(0,): 2.5, (4,): -math.inf, (5,): -0.5})),
    ({"banned_words": ((1,), (4, 5), (2, 5), (6, 7, 1), (6, 6, 6, 6, 6, 6, 6, 6))},
     lambda ids: hf.NoBadWordsLogitsProcessor([[1], [4, 5], [2, 5], [6, 7, 1], [6] * 8])),
]


@pytest.mark.parametrize("options,make", ORACLES, ids=lambda value: str(value) if isinstance(value, dict) else "")
@pytest.mark.parametrize("prompted", [False, True])
def test_a_processor_equals_hugging_faces(options: dict[str, Any], make: Callable[[Ids], Any], prompted: bool) -> None:
    rng, (processor,), changed = np.random.default_rng(1), processors_for(GenerationOptions(**options)).values(), 0
    for _ in range(ROUNDS):
        vocabulary = int(rng.integers(8, 60))
        rows = random_rows(rng, prompted)
        logits = random_logits(rng, len(rows.requests), vocabulary)
        given = logits.copy()
        found = processor(given, rows)
        assert not processor.shapes or np.array_equal(logits, given), "a shape wrote to what it was given"
        np.testing.assert_allclose(found, reference(make, logits, rows), rtol=1e-6)
        changed += not np.array_equal(found, logits)
    assert changed or next(iter(options.values())) == 50 or options.get("top_k") == 1000, "the processor never did anything"


@pytest.mark.parametrize("name", processors())
def test_a_row_is_processed_alone_as_in_a_batch(name: str) -> None:
    """Exactly; `EVERY` has options that turn each processor on, so a new processor has to be put there."""
    (processor,) = processors_for(GenerationOptions(**EVERY[name])).values()
    rng = np.random.default_rng(2)
    for round in range(ROUNDS):
        rows = random_rows(rng, prompted=round % 2 == 0)
        logits = random_logits(rng, len(rows.requests), 20)
        together = processor(logits.copy(), rows)
        for row, request in enumerate(rows.requests):
            alone = Rows([request], rows.tokens[row : row + 1], rows.ends)
            np.testing.assert_array_equal(processor(logits[row : row + 1].copy(), alone)[0], together[row])


EVERY: dict[str, dict[str, Any]] = {
    "logit_bias": {"logit_bias": ((1, 1.0), (1, 2.0), (5, -np.inf))}, "encoder_repetition_penalty":
    {"encoder_repetition_penalty": 1.4}, "repetition_penalty": {"repetition_penalty": 1.4},
    "presence_penalty": {"presence_penalty": 1.5}, "frequency_penalty": {"frequency_penalty": 0.4},
    "no_repeat_ngram": {"no_repeat_ngram": 2}, "encoder_no_repeat_ngram": {"encoder_no_repeat_ngram": 2},
    "banned_words": {"banned_words": ((1,), (4, 5))}, "suffix": {"suffix": (4, 5, 4)}, "prefix": {"prefix": (5, 6)},
    "forced_first": {"forced_first": 7}, "forced_last": {"forced_last": 3},
    **{name: {"sample": True, name: value} for name, value in {
        "temperature": 0.7, "top_k": 3, "top_p": 0.6, "min_p": 0.2, "typical_p": 0.5, "epsilon_cutoff": 0.05,
        "eta_cutoff": 0.05, "top_n_sigma": 1.0}.items()}}


def test_presence_and_frequency_count_what_was_generated_only() -> None:
    rng = np.random.default_rng(3)
    presence, frequency = (next(iter(processors_for(GenerationOptions(**{name: 0.75})).values()))
                           for name in ("presence_penalty", "frequency_penalty"))
    for _ in range(ROUNDS):
        rows = random_rows(rng, prompted=True)
        logits = random_logits(rng, len(rows.requests), 12)
        counts = np.array([[row.count(token) for token in range(12)] for row in rows.tokens.tolist()])
        np.testing.assert_allclose(presence(logits.copy(), rows), logits - 0.75 * (counts > 0), rtol=1e-5)
        np.testing.assert_allclose(frequency(logits.copy(), rows), logits - 0.75 * counts, rtol=1e-5)


@pytest.mark.parametrize("n", [0.01, 1.0, 2.5, 100.0])
def test_top_n_sigma_against_the_formula(n: float) -> None:
    """Of llama.cpp: the population's deviation, over what is not forbidden. The same tokens stay at any temperature."""
    rng, (processor,) = np.random.default_rng(5), processors_for(GenerationOptions(sample=True, top_n_sigma=n)).values()
    for _ in range(ROUNDS):
        rows = random_rows(rng, prompted=True)
        logits = random_logits(rng, len(rows.requests), 30)
        found = processor(logits, rows)
        for row, out in zip(logits.astype(np.float64), found, strict=True):
            allowed = [value for value in row.tolist() if value > -math.inf]
            lowest = max(allowed) - n * float(torch.tensor(allowed).double().std(correction=0))
            assert out.tolist() == [value if value >= lowest else -math.inf for value in row.tolist()]
        hot = processor(logits / np.float32(2.0), rows)
        np.testing.assert_array_equal(np.isfinite(hot), np.isfinite(found))


def test_forced_tokens_are_those_of_hugging_face() -> None:
    logits = np.random.default_rng(4).normal(size=(3, 9)).astype(np.float32)
    rows = Rows([Request(i, 1, source=[4], prompt=[2]) for i in range(3)], np.empty((3, 0), np.int64))
    ids = torch.full((3, 1), 2)
    for option, theirs in (({"forced_first": 7}, hf.ForcedBOSTokenLogitsProcessor(7)),
                           ({"forced_last": 3}, hf.ForcedEOSTokenLogitsProcessor(2, 3))):
        (processor,) = processors_for(GenerationOptions(**option)).values()
        np.testing.assert_array_equal(processor(logits.copy(), rows), theirs(ids, torch.from_numpy(logits)).numpy())
        later = Rows([Request(i, 9, source=[4], prompt=[2]) for i in range(3)], np.full((3, 2), 4))
        np.testing.assert_array_equal(processor(logits, later), logits)


# ---------------------------------------------------------------- in the loop


SOURCES = [[5], [4, 6, 7], [7, 7], [5, 4], [6], [6, 6, 6, 6]]


@pytest.mark.parametrize("search", [{}, {"beams": 3}, {"sample": True, "seed": 5}], ids=str)
@pytest.mark.parametrize("limit", [4, 5, 9])
def test_a_text_begins_with_its_prefix_and_ends_with_its_suffix(search: dict[str, Any], limit: int) -> None:
    runner, suffix = FakeRunner(8, sharpness=1.0), (4, 5, 4)
    limits = [limit + index for index in range(len(SOURCES))]
    options = GenerationOptions(suffix=suffix, **search)
    lengths = set()
    for (best, *_), most in zip(generate_batch(runner, SOURCES, options, limits=limits), limits, strict=True):
        assert best.tokens[-4:] == (*suffix, 3) and best.reason == "end" and len(best.tokens) <= most
        lengths.add(len(best.tokens))
    assert len(lengths) > 1
    both = GenerationOptions(prefix=(6, 7), suffix=suffix, **search)
    for (best, *_) in generate_batch(runner, SOURCES, both, limits=[most + 2 for most in limits]):
        assert best.tokens[:2] == (6, 7) and best.tokens[-4:] == (*suffix, 3)


def test_a_suffix_that_came_by_itself_may_end_the_text_and_is_not_forced_again() -> None:
    (processor,) = processors_for(GenerationOptions(suffix=(4, 5))).values()
    logits = np.zeros((4, 8), np.float32)
    def allowed(tokens: list[int], remaining: int) -> list[int]:
        rows = Rows([Request(0, len(tokens) + remaining)], np.array([tokens], np.int64), frozenset({EOS}))
        return np.flatnonzero(np.isfinite(processor(logits[:1].copy(), rows)[0])).tolist()
    everything = [0, 1, 2, 4, 5, 6, 7]
    assert allowed([6], 9) == everything and allowed([6], 4) == everything  # 4: one more, then the suffix and the end
    assert allowed([6], 3) == [4] and allowed([6, 4], 2) == [5] and allowed([4, 5], 1) == [3]
    assert allowed([6, 4], 3) == [4, 5]  # begun by itself: begin once more, or go on
    assert allowed([4, 5], 3) == [3, 4] and allowed([4, 5], 4) == list(range(8))


def test_prefix_and_forced_tokens_force_in_every_search() -> None:
    for search in ({}, {"beams": 3}, {"sample": True}):
        options = GenerationOptions(prefix=(7, 4), forced_last=6, max_new_tokens=5, banned=(EOS,), **search)
        for (best, *_) in generate_batch(FakeRunner(8), SOURCES, options):
            assert best.tokens[:2] == (7, 4) and best.tokens[-1] == 6 and len(best.tokens) == 5
            assert best.log_probs[:2] == (0.0, 0.0)


def test_banned_words_and_ngrams_never_come() -> None:
    runner, words = FakeRunner(6, sharpness=1.0), ((4, 5), (5, 5), (0,), (2, 1, 4))
    for search in ({}, {"beams": 4}, {"sample": True}):
        options = GenerationOptions(banned_words=words, no_repeat_ngram=3, max_new_tokens=12, banned=(EOS,), **search)
        for (best, *_) in generate_batch(runner, SOURCES, options):
            tokens = (runner.start_token, *best.tokens)
            for word in words:
                assert word not in [tokens[i : i + len(word)] for i in range(len(tokens))]
            triples = [tokens[i : i + 3] for i in range(len(tokens) - 2)]
            assert len(set(triples)) == len(triples)


# ---------------------------------------------------------------- orders and presets


def test_a_processor_is_turned_on_by_the_option_of_its_name() -> None:
    everything = {
        "sample": True, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "epsilon_cutoff": 0.1,
        "eta_cutoff": 0.1, "top_n_sigma": 1.0, "repetition_penalty": 1.2, "encoder_repetition_penalty": 1.2,
        "presence_penalty": 0.1, "frequency_penalty": 0.1, "no_repeat_ngram": 2, "encoder_no_repeat_ngram": 2,
        "banned_words": ((5, 6),), "logit_bias": ((5, 1.0),), "prefix": (5,), "suffix": (6,), "forced_first": 5,
        "forced_last": 6}
    made = processors_for(GenerationOptions(**everything | {"forced_first": None}))
    assert {*made, "forced_first"} == set(processors())
    for name, processor in processors().items():
        others = {key: value for key, value in everything.items() if key != name}
        assert processor.from_options(GenerationOptions(**others)) is None


def test_order_takes_places_and_is_checked() -> None:
    options = GenerationOptions(sample=True, temperature=2.0, top_p=0.5, min_p=0.3, order=("top_p", "temperature"))
    assert list(processors_for(options)) == ["top_p", "temperature", "min_p"]
    logits, rows = np.array([[2.0, 1.0, 0.0, -1.0]], np.float32), Rows([Request(0, 5)], np.empty((1, 0), np.int64))
    before = Chain(GenerationOptions(sample=True, temperature=2.0, top_p=0.8)).shaped(logits, rows)
    swapped = GenerationOptions(sample=True, temperature=2.0, top_p=0.8, order=("top_p", "temperature"))
    after = Chain(swapped).shaped(logits, rows)
    assert np.isfinite(before).sum() == 3 and np.isfinite(after).sum() == 2  # 0.64 + 0.24 at temperature 1
    for order, message in [(("top_q",), "Did you mean 'top_p'"), (("top_p", "top_p"), "order holds 'top_p' twice"),
                           (("top_k", "repetition_penalty"), "order puts repetition_penalty after top_k")]:
        with pytest.raises(UsageError, match=message):
            generate_batch(FakeRunner(), SOURCES, GenerationOptions(order=order))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_made_of_options_and_turns_nothing_on(name: str) -> None:
    options = following(name)
    assert processors_for(options) == {}
    assert [made for made in processors() if made in options.order] != [] and set(options.order) <= set(processors())


def test_presets_order_as_their_tools_do() -> None:
    shapes = {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9}
    def order(name: str) -> list[str]:
        return list(processors_for(following(name, sample=True, **shapes)))
    assert order("hf") == ["temperature", "top_k", "top_p", "min_p", "typical_p"]
    assert order("vllm")[:4] == ["temperature", "min_p", "top_k", "top_p"]
    assert order("ctranslate2")[:3] == ["top_k", "temperature", "top_p"]
    assert order("llama.cpp") == ["top_k", "typical_p", "top_p", "min_p", "temperature"]
    with pytest.raises(UnknownNameError, match=r"unknown preset 'huggingface'.*Known: ctranslate2, hf, llama.cpp, vllm"):
        preset("huggingface")


def test_the_guide_names_every_option_and_has_processors_in_their_order() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "decoding.md").read_text("utf-8")
    missing = [option.name for option in fields(GenerationOptions) if not re.search(rf"\b{option.name}\b", guide)]
    assert not missing
    rows = [name.strip() for row in re.findall(r"^\| ([a-z_, ]+) \|", guide, re.MULTILINE) for name in row.split(",")]
    assert [name for name in rows if name in processors()] == list(processors())


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("options,limits", [
    ({"min_p": 0.0}, "0 to 1"), ({"typical_p": 1.0}, "above 0 to 1"), ({"epsilon_cutoff": 0.0}, "0 to below 1"),
    ({"eta_cutoff": 0.0}, "0 to below 1"), ({"top_n_sigma": 0.0}, "0 to 100"), ({"repetition_penalty": 1.0}, "0.01 to 100"),
    ({"encoder_repetition_penalty": 1.0}, "0.01 to 100"), ({"presence_penalty": 0.0}, "-100 to 100"),
    ({"frequency_penalty": 0.0}, "-100 to 100"), ({"no_repeat_ngram": 0}, "0 or more"),
    ({"encoder_no_repeat_ngram": 0}, "0 or more"), ({"top_k": 0}, "0 or more"), ({"top_p": 1.0}, "above 0 to 1"),
    ({"temperature": 1.0}, "0 to 100")])
def test_limits_just_beyond_wrong_types_and_nan(options: dict[str, Any], limits: str) -> None:
    ((name, neutral),) = options.items()
    low, high = (float(part) if part else None for part in
                 limits.replace("above ", "").replace("below ", "").replace("or more", "to ").split("to "))
    kind = type(neutral)
    ends = [end for end, word in ((low, "above"), (high, "below")) if end is not None and word not in limits]
    for value in (neutral, *map(kind, ends)):
        GenerationOptions(sample=True, **{name: value})
    beyond = [low - 1, *([low] if "above" in limits else []), *([] if high is None else [math.nextafter(high, 1e9) if kind is
              float else high + 1]), *([high] if "below" in limits else [])]
    for value in map(kind, beyond):
        with pytest.raises(UsageError, match=rf"{name} is .*it must be {limits}"):
            GenerationOptions(sample=True, **{name: value})
    for wrong in ("1", None, True, [1], math.nan):
        with pytest.raises(UsageError, match=rf"{name} is .*it must be .*{limits}"):
            GenerationOptions(sample=True, **{name: wrong})


@pytest.mark.parametrize("options,message", [
    ({"logit_bias": ((1, math.nan),)}, "logit_bias holds .*nan.*pairs of a token id and a number of at most 1e30"),
    ({"logit_bias": ((1, math.inf),)}, "pairs of a token id and a number of at most 1e30"),
    ({"logit_bias": ((1, "a"),)}, "pairs of a token id"), ({"logit_bias": ((1,),)}, "pairs of a token id"),
    ({"logit_bias": (("a", 1.0),)}, "pairs of a token id"), ({"banned_words": ((),)}, "an empty row"),
    ({"banned_words": (5,)}, "banned_words holds 5; it takes"), ({"banned": ("a",)}, "banned holds 'a'; it takes token ids"),
    ({"banned_words": ((1, "b"),)}, "banned_words holds .*it takes"), ({"prefix": 5}, "prefix is 5; it must be a list"),
    ({"prefix": (1.5,)}, "prefix holds 1.5; it takes token ids"), ({"forced_first": 1.5}, "forced_first is 1.5"),
    ({"forced_last": "x"}, "forced_last is 'x'"),
])
def test_rows_of_ids_of_the_wrong_kind(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GenerationOptions(**options)


@pytest.mark.parametrize("options,message", [
    ({"prefix": (8,)}, "prefix holds token id 8; ids run from 0 to 7"),
    ({"prefix": (4, 5), "suffix": (6, 7)}, r"prefix \(2\), suffix \(2\), the end \(1\) take 5 tokens, but max_new_tokens is 4"),
    ({"prefix": (4, 5, 6, 7, 4)}, r"prefix \(5\) take 5 tokens, but max_new_tokens is 4; ask for 5 or more"),
    ({"prefix": (4, 5), "banned": (5,)}, "prefix holds token id 5, which banned forbids; drop one"),
    ({"suffix": (4, 5), "logit_bias": ((4, -math.inf),)}, "suffix holds token id 4, which logit_bias forbids"),
    ({"suffix": (4, 5), "banned_words": ((4, 5),)}, r"suffix holds the banned word \(4, 5\)"),
    ({"forced_first": 4, "banned_words": ((4,),)}, r"forced_first holds the banned word \(4,\)"),
    ({"forced_last": 4, "banned": (4,)}, "forced_last holds token id 4, which banned forbids"),
    ({"beams": 2, "forced_words": ((4, 5),), "banned": (5,)}, "forced_words holds token id 5, which banned forbids"),
    ({"prefix": (4, 4, 4), "no_repeat_ngram": 2}, "prefix holds the same 2 tokens twice, which no_repeat_ngram=2 forbids"),
    ({"prefix": (4, 3)}, "prefix holds token id 3, which ends a text"),
    ({"suffix": (4, 3)}, "suffix holds token id 3, which ends a text"),
    ({"suffix": (5, 4), "eos": (4,)}, "suffix holds token id 4, which ends a text"),
    ({"prefix": (4,), "forced_first": 5}, "forced_first=5 and a prefix that begins with 4 contradict each other"),
    ({"suffix": (4,), "forced_last": 5}, "forced_last=5 and suffix contradict each other"),
    ({"forced_first": 3, "min_new_tokens": 1}, "forced_first=3 ends a text, but min_new_tokens is 1"),
    ({"forced_last": 3, "min_new_tokens": 4}, "forced_last=3 needs an end, but min_new_tokens is 4 of at most 4"),
    ({"suffix": (4,), "min_new_tokens": 4}, "suffix needs an end, but min_new_tokens is 4 of at most 4"),
    ({"prefix": (4, 5, 6, 7), "forced_last": 3}, "prefix and forced_last=3 both say what token 4 is"),
])
def test_constraints_that_cannot_be_met_are_refused_before_the_first_token(options: dict[str, Any], message: str) -> None:
    runner = FakeRunner(8)
    runner.encode = None  # type: ignore[assignment,method-assign]  # nothing may run
    with pytest.raises(UsageError, match=message):
        generate_batch(runner, SOURCES, GenerationOptions(max_new_tokens=4, **options))


@pytest.mark.parametrize("search", [{}, {"beams": 2}, {"sample": True}], ids=str)
def test_a_row_with_nothing_left_says_which_rules_did_it(search: dict[str, Any]) -> None:
    options = GenerationOptions(no_repeat_ngram=1, banned=(EOS,), max_new_tokens=8, **search)
    with pytest.raises(UsageError, match=r"no token is left to choose after 7 of them; .*\(bans, no_repeat_ngram\)"):
        generate_batch(FakeRunner(9), [[4]], options)


def test_a_request_for_nothing_gets_nothing() -> None:
    (found,) = generate_batch(FakeRunner(8), [[4]], GenerationOptions(max_new_tokens=0, prefix=(4,), banned=(4,)))
    assert found[0].tokens == ()
