"""A row's result depends on nothing else in its batch: alone and with 1 to 63 neighbours, for every strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.marian import random_marian, weft_model
from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.families import scratch
from weft.nn.model import Model
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis

VOCABULARY, NEW = 60, 9
STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"sample": True, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "min_p": 0.01, "seed": 3},
    "penalties": {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2, "no_repeat_ngram": 2},
    "beam": {"beams": 4, "n_best": 4, "early_stopping": "exact"},
    "beam_hf": {"beams": 4, "beam_scores": "raw", "early_stopping": "heuristic", "length_formula": "average",
                "no_repeat_ngram": 2, "min_new_tokens": 3},
    "diverse": {"beams": 4, "beam_groups": 2, "diversity": 0.7, "n_best": 4},
    "constrained": {"beams": 5, "forced_words": ((17, 23), (9,))},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
}


def encoder_decoder() -> TorchRunner:
    return TorchRunner(weft_model(random_marian(1, vocabulary=VOCABULARY, width=32, layers=2, heads=4, feed_forward=48)))


def decoder_only() -> TorchRunner:
    _, build = scratch.BUILDERS["llama"]
    config = build(VOCABULARY, layers=2, width=32, heads=4, feed_forward=48, window=64)
    return TorchRunner(Model(config).initialise(1))


@pytest.fixture(scope="module", name="runners")
def _runners() -> dict[str, TorchRunner]:
    return {"encoder-decoder": encoder_decoder(), "decoder-only": decoder_only()}


def answers(runner: TorchRunner, rows: list[list[int]], options: GenerationOptions, seeds: list[int]
            ) -> list[tuple[Hypothesis, ...]]:
    given = {"sources": None, "prompts": rows} if runner.model.config.encoder is None else {"sources": rows}
    return generate_batch(runner, **given, options=options, seeds=seeds)


@pytest.mark.parametrize("kind", ["encoder-decoder", "decoder-only"])
@pytest.mark.parametrize("strategy", ["greedy", "sampling", "beam", "diverse", "constrained"])
def test_a_rule_that_changes_nothing_changes_no_bit(runners: dict[str, TorchRunner], kind: str, strategy: str) -> None:
    """Though the runner hands over all logits then, and gets them back."""
    chance, settings = np.random.default_rng(6), {"max_new_tokens": NEW, "logprobs": 3, **STRATEGIES[strategy]}
    rows = [chance.integers(4, VOCABULARY, chance.integers(1, 20)).tolist() for _ in range(20)]
    plain = answers(runners[kind], rows, GenerationOptions(**settings), [3] * 20)
    assert answers(runners[kind], rows, GenerationOptions(**settings, logit_bias=((5, 0.0),)), [3] * 20) == plain


@pytest.mark.parametrize("kind", ["encoder-decoder", "decoder-only"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_alone_as_in_company(runners: dict[str, TorchRunner], kind: str, strategy: str) -> None:
    runner, chance = runners[kind], np.random.default_rng(5)
    options = GenerationOptions(max_new_tokens=NEW, **STRATEGIES[strategy])
    rows = [chance.integers(4, VOCABULARY, chance.integers(1, 20)).tolist() for _ in range(64)]
    seeds = list(range(64))
    alone = [answers(runner, [row], options, [seed])[0] for row, seed in zip(rows, seeds, strict=True)]
    for size in (2, 3, 7, 64):
        for start in range(0, 64, size) if size > 3 else (0, 30):
            part = slice(start, start + size)
            for one, many in zip(alone[part], answers(runner, rows[part], options, seeds[part]), strict=True):
                assert [hypothesis.tokens for hypothesis in one] == [hypothesis.tokens for hypothesis in many]
                np.testing.assert_allclose([hypothesis.score for hypothesis in one], [hypothesis.score for hypothesis in many],
                                           atol=1e-5)
