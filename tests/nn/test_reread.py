"""LongRoPE while decoding: at every step the logits are those of the whole text so far, read at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weft.backends.torch import TorchRunner
from weft.decode import generate_batch
from weft.families import scratch
from weft.nn.model import Model
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions

ORIGINAL, NEW = 10, 9
SCALING = c.LongRopeScaling((1.0, 1.2, 1.5, 2.0), (3.0, 7.0, 20.0, 50.0), ORIGINAL, 1.2)
ROWS = [[5, 9, 30], list(range(20, 29)), [7], list(range(30, 40)), list(range(12, 27))]


@pytest.fixture(scope="module", name="runner")
def _runner() -> TorchRunner:
    config = scratch.llama(50, 2, 32, 4, 48, window=64)
    assert isinstance(config.decoder, c.TransformerStack)
    stack = replace(config.decoder, position=c.Rotary(100.0, scaling=SCALING))
    special = replace(config.special, eos=None)  # no text ends by itself
    return TorchRunner(Model(replace(config, decoder=stack, special=special)).initialise(3))


def greedy(runner: TorchRunner, row: list[int], new: int) -> list[int]:
    """The slow way: every token from the whole text."""
    text = list(row)
    while len(text) < len(row) + new:
        text.append(int(runner.logits(None, [text])[0, -1].argmax()))
    return text[len(row):]


def test_it_makes_a_difference(runner: TorchRunner) -> None:
    """Of one token more than the window, every logit is another."""
    rows = [list(range(20, 20 + ORIGINAL)), list(range(20, 21 + ORIGINAL))]
    short, long = runner.logits(None, rows)[:, 1 : ORIGINAL - 1]
    assert np.abs(short - long).max(-1).min() > 0.01


@pytest.mark.parametrize("options", [{}, {"lookup": 4}], ids=["plain", "guessing ahead"])
def test_greedy(runner: TorchRunner, options: dict[str, int]) -> None:
    """Rows of a batch grow long at different steps; wrong guesses are taken back across the border."""
    found = generate_batch(runner, None, GenerationOptions(max_new_tokens=NEW, **options), prompts=ROWS)
    for row, (hypothesis,) in zip(ROWS, found, strict=True):
        assert list(hypothesis.tokens) == greedy(runner, row, NEW)


@pytest.mark.parametrize("beams", [1, 4])
def test_scores_of_hypotheses(runner: TorchRunner, beams: int) -> None:
    """Each token has the log-probability that the whole text before it gives it."""
    found = generate_batch(runner, None, GenerationOptions(max_new_tokens=NEW, beams=beams, n_best=beams), prompts=ROWS)
    for row, hypotheses in zip(ROWS, found, strict=True):
        for one in hypotheses:
            for at, (token, log_prob) in enumerate(zip(one.tokens, one.log_probs, strict=True)):
                logits = runner.logits(None, [[*row, *one.tokens[:at]]])[0, -1].astype(np.float64)
                assert log_prob == pytest.approx(logits[token] - np.log(np.exp(logits).sum()), abs=1e-4)


def test_taking_back_makes_a_text_short_again(runner: TorchRunner) -> None:
    row = list(range(20, 19 + ORIGINAL))  # one less than the window
    runner.start(None, 1, [row[:-1]])
    runner.step(np.array([[row[-1], 5, 6, 7]]))
    runner.drop(3)
    runner.gather(np.array([0]))
    for token in (8, 9, 10):
        row.append(token)
        logits = runner.step(np.array([token]))
        np.testing.assert_allclose(logits[0], runner.logits(None, [row])[0, -1], atol=1e-5)
