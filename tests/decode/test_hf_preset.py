"""With the hf preset Weft gives Hugging Face's tokens: generate() on random Marian and GPT-2 models, ragged batches.

The models are Hugging Face's own in both (tests/decode/test_hf_beam.py), in float64 handed over as float32, so that
both searches see the same numbers whatever the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.decode.fake import following
from weft.decode import generate_batch
from weft.decode.chain import Chain
from weft.decode.rows import Request, Rows
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.decode.test_hf_beam import (  # noqa: E402
    EOS,
    PAD,
    VOCABULARY,
    ChaoticHead,
    MarianRunner,
    cut,
    padded,
    ragged_sources,
    select,
    tiny_marian,
)

LIMIT, SOURCES = 12, 40


@cache
def tiny_gpt2(eos_bias: float) -> Any:
    """Two layers, width 16, random weights; ends come more often with a higher `eos_bias`."""
    torch.manual_seed(5)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=EOS,
        pad_token_id=PAD, tie_word_embeddings=False)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln" not in name:
                parameter.normal_(0.0, 0.5)
    model.lm_head = Biased(eos_bias)
    model.generation_config = transformers.GenerationConfig(pad_token_id=PAD, eos_token_id=EOS, bos_token_id=1)
    return model.double()


class Biased(ChaoticHead):  # type: ignore[misc]
    def __init__(self, eos_bias: float) -> None:
        super().__init__(16, VOCABULARY, bias=False)
        self.eos_bias = eos_bias

    def forward(self, hidden: Any) -> Any:
        logits = super().forward(hidden)
        logits[..., EOS] += self.eos_bias
        logits[..., PAD] = -1e4  # never likely, on both sides
        return logits


class GptRunner:
    """The verbs over a Hugging Face decoder-only model; every row is read alone and whole at each step."""

    eos, start_token, vocabulary_size, max_target = EOS, 1, VOCABULARY, 64

    def __init__(self, model: Any) -> None:
        self.model = model

    def start(self, memory: None, copies: int, prefix: Sequence[Sequence[int]] | None = None) -> None:
        self.rows = [list(row) for row in prefix or [] for _ in range(copies)]

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        self.rows = [[*row, int(token)] for row, token in zip(self.rows, tokens, strict=True)]
        batch = padded(self.rows)
        logits = self.model(**batch).logits[torch.arange(len(self.rows)), batch["attention_mask"].sum(1) - 1].float()
        if best is None:
            return logits.numpy()
        logits[:, list(banned)] = -torch.inf
        return self.select(logits.numpy(), best)

    select = staticmethod(select)

    def gather(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


def left_padded(rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    width = max(map(len, rows))
    return {"input_ids": torch.tensor([[*[PAD] * (width - len(row)), *row] for row in rows]),
            "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])}


def marian_reference(inputs: Sequence[Sequence[int]], **settings: Any) -> list[tuple[int, ...]]:
    out = tiny_marian(1.0).generate(**padded(inputs), max_new_tokens=LIMIT, do_sample=False, use_cache=False, **settings)
    return [cut(row) for row in out.tolist()]


def gpt_reference(inputs: Sequence[Sequence[int]], **settings: Any) -> list[tuple[int, ...]]:
    batch = left_padded(inputs)
    out = tiny_gpt2(1.0).generate(**batch, max_new_tokens=LIMIT, do_sample=False, use_cache=False, **settings)
    width = batch["input_ids"].shape[1]
    return [cut([PAD, *row[width:]]) for row in out.tolist()]


def marian_found(inputs: Sequence[Sequence[int]], options: GenerationOptions) -> list[tuple[int, ...]]:
    return [best[0].tokens for best in generate_batch(MarianRunner(tiny_marian(1.0)), inputs, options)]


def gpt_found(inputs: Sequence[Sequence[int]], options: GenerationOptions) -> list[tuple[int, ...]]:
    return [best[0].tokens for best in generate_batch(GptRunner(tiny_gpt2(1.0)), None, options, prompts=inputs)]


MODELS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "marian": (marian_reference, marian_found), "gpt2": (gpt_reference, gpt_found)}
COMBINATIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
    ({"repetition_penalty": 0.6}, {"repetition_penalty": 0.6}),
    ({"no_repeat_ngram": 1}, {"no_repeat_ngram_size": 1}),
    ({"no_repeat_ngram": 2, "min_new_tokens": 6}, {"no_repeat_ngram_size": 2, "min_new_tokens": 6}),
    ({"encoder_repetition_penalty": 2.5}, {"encoder_repetition_penalty": 2.5}),
    ({"encoder_no_repeat_ngram": 1}, {"encoder_no_repeat_ngram_size": 1}),
    ({"encoder_no_repeat_ngram": 2, "repetition_penalty": 1.2}, {"encoder_no_repeat_ngram_size": 2, "repetition_penalty": 1.2}),
    ({"banned_words": tuple((i,) for i in range(5, 40)) + ((45, 46), (47, 48, 49))},
     {"bad_words_ids": [[i] for i in range(5, 40)] + [[45, 46], [47, 48, 49]]}),
    ({"logit_bias": ((50, 4.0), (20, -np.inf), (EOS, -1.5))},
     {"sequence_bias": [[[50], 4.0], [[20], -np.inf], [[EOS], -1.5]]}),
    ({"forced_last": EOS, "min_new_tokens": 9}, {"forced_eos_token_id": EOS, "min_new_tokens": 9}),
    ({"eos": (37, 45)}, {"eos_token_id": [EOS, 37, 45]}),
    ({"banned": tuple(range(4, 20)), "repetition_penalty": 1.3, "no_repeat_ngram": 3, "encoder_no_repeat_ngram": 3,
      "logit_bias": ((50, 1.0),), "min_new_tokens": 3},
     {"suppress_tokens": list(range(4, 20)), "repetition_penalty": 1.3, "no_repeat_ngram_size": 3,
      "encoder_no_repeat_ngram_size": 3, "sequence_bias": [[[50], 1.0]], "min_new_tokens": 3}),
]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("ours,theirs", COMBINATIONS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_hugging_faces(model: str, ours: dict[str, Any], theirs: dict[str, Any], beams: int) -> None:
    torch.set_num_threads(1)
    reference, found = MODELS[model]
    inputs = ragged_sources(SOURCES)
    if model == "gpt2":
        inputs = [row[:-1] for row in inputs]
    options = following("hf", beams=beams, max_new_tokens=LIMIT, **ours)
    with torch.inference_mode():
        got = found(inputs, options)
        assert [only_first_end(row, options) for row in reference(inputs, num_beams=beams, **theirs)] == got
        if ours:
            plain = found(inputs, following("hf", beams=beams, max_new_tokens=LIMIT))
            assert got != plain, "the options made no difference to any input"


def only_first_end(row: tuple[int, ...], options: GenerationOptions) -> tuple[int, ...]:
    """`cut` knows one end; a row that came to another is padded after it."""
    ends = [place for place, token in enumerate(row) if token in options.eos]
    return row[: ends[0] + 1] if ends else row


@pytest.mark.parametrize("beams", [1, 4])
def test_forced_first_token(beams: int) -> None:
    """Encoder-decoder only: Hugging Face forces it where the decoder's input is one token long."""
    options = following("hf", beams=beams, max_new_tokens=LIMIT, forced_first=33, forced_last=EOS)
    inputs = ragged_sources(SOURCES)
    with torch.inference_mode():
        theirs = marian_reference(inputs, num_beams=beams, forced_bos_token_id=33, forced_eos_token_id=EOS)
        assert marian_found(inputs, options) == theirs and {row[0] for row in theirs} == {33}


# ---------------------------------------------------------------- sampling: the distribution that is drawn from


DISTRIBUTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0.7, "top_k": 20, "top_p": 0.8}, {"temperature": 0.7, "top_k": 20, "top_p": 0.8}),
    ({"temperature": 2.5, "min_p": 0.3, "typical_p": 0.8}, {"temperature": 2.5, "min_p": 0.3, "typical_p": 0.8, "top_k": 0}),
    ({"eta_cutoff": 0.1, "epsilon_cutoff": 0.01}, {"eta_cutoff": 0.1, "epsilon_cutoff": 0.01, "top_k": 0}),
    ({"epsilon_cutoff": 0.02, "repetition_penalty": 1.4, "no_repeat_ngram": 1},
     {"epsilon_cutoff": 0.02, "repetition_penalty": 1.4, "no_repeat_ngram_size": 1, "top_k": 0}),
    ({"temperature": 0.9, "top_k": 30, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.97, "epsilon_cutoff": 0.001,
      "logit_bias": ((9, 2.0),), "encoder_repetition_penalty": 1.3, "encoder_no_repeat_ngram": 2},
     {"temperature": 0.9, "top_k": 30, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.97, "epsilon_cutoff": 0.001,
      "sequence_bias": [[[9], 2.0]], "encoder_repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 2}),
]


def pipeline(settings: dict[str, Any], source: Sequence[int]) -> Any:
    """The processors that generate() makes of these settings."""
    config = transformers.GenerationConfig(do_sample=True, eos_token_id=EOS, pad_token_id=PAD, max_length=99, **settings)
    config._eos_token_tensor = torch.tensor([EOS])
    model = tiny_marian(1.0)
    return model._get_logits_processor(config, 1, torch.tensor([source]), None, None, "cpu", {})


def shaped(options: GenerationOptions, logits: np.ndarray, rows: Rows) -> np.ndarray:
    chain = Chain(options)
    return chain.shaped(chain.ruled(logits, rows), rows)


@pytest.mark.parametrize("ours,theirs", DISTRIBUTIONS, ids=lambda value: str(value)[:60])
def test_the_distribution_drawn_from_is_hugging_faces(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    rng, options = np.random.default_rng(6), following("hf", sample=True, **ours)
    for _ in range(60):
        source, tokens = rng.integers(4, 12, rng.integers(1, 9)).tolist(), rng.integers(4, 12, (1, rng.integers(0, 9)))
        logits = rng.normal(scale=rng.choice([0.2, 2.0, 6.0]), size=(1, VOCABULARY)).astype(np.float32)
        rows = Rows([Request(0, 20, source=source, prompt=[2])], tokens, frozenset({EOS}))
        expected = pipeline(theirs, source)(torch.from_numpy(rows.history(0))[None], torch.from_numpy(logits))
        found = torch.from_numpy(shaped(options, logits, rows))
        torch.testing.assert_close(found.softmax(1), expected.softmax(1), rtol=1e-5, atol=1e-9)


def test_draws_follow_hugging_faces_distribution() -> None:
    """Chi-square of 20,000 draws of one step against the probabilities that Hugging Face would draw from."""
    ours, theirs = DISTRIBUTIONS[-1]
    count, source = 20_000, [5, 9, 6, EOS]
    logits = np.random.default_rng(8).normal(size=VOCABULARY).astype(np.float32)
    runner = SimpleNamespace(eos=EOS, start_token=2, vocabulary_size=VOCABULARY, max_target=64, encode=len,
                             start=lambda *_: None, gather=lambda rows: None,
                             step=lambda tokens, best=None, banned=(): np.tile(logits, (len(tokens), 1)))
    options = following("hf", sample=True, max_new_tokens=1, **ours)
    found = [best[0].tokens[0] for best in generate_batch(runner, [source] * count, options)]
    expected = pipeline(theirs, source)(torch.tensor([[2]]), torch.from_numpy(logits)[None]).double().softmax(1)[0].numpy()
    observed = np.bincount(found, minlength=VOCABULARY)
    assert observed[expected == 0].sum() == 0 and (expected > 0).sum() > 5
    likely = expected * count >= 5
    assert stats.chisquare([*observed[likely], observed[~likely].sum() + 1e-9],
                           [*(expected[likely] * count), expected[~likely].sum() * count + 1e-9]).pvalue > 0.001
