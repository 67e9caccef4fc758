"""How denoising is scored: against runners that know, do not know, or do not stop. No model is trained here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from weft.data import Ragged
from weft.errors import UsageError
from weft.families import transformer
from weft.spec import config as c
from weft.spec.training import TrainingOptions
from weft.tasks import Encoded, find_task
from weft.tasks.denoise import noised_windows
from weft.text import SPECIAL_TOKENS, Tokenizer

DENOISE = find_task("denoise")
TEXT = " ".join(f"word{i % 17} and thing{i % 5}" for i in range(300))
TOKENIZER = Tokenizer.train("metaspace_bpe", [TEXT], 400, special_tokens=(*SPECIAL_TOKENS, *DENOISE.special_tokens))


def model(mask: int | None = TOKENIZER.id_of("<mask>")) -> c.ModelConfig:
    config = transformer.config(TOKENIZER.vocabulary_size, 1, 16, 2, 32, window=200)
    return replace(config, special=replace(config.special, mask=mask))


def encoded() -> Encoded:
    return DENOISE.encode(TOKENIZER, [(TEXT, "")], model())


class Oracle:
    """Gives the next token of a target `sure` more than the others; with stops=False not the one behind a span."""

    def __init__(self, sure: float, options: TrainingOptions, stops: bool = True) -> None:
        self.sure, self.stops = sure, stops
        self.ends = {(*one.source.tolist(), -1, *one.target.tolist()): {end for _, end in one.spans}
                     for one in noised_windows(encoded(), model(), None, options)}

    def logits(self, sources: list[list[int]], targets: list[list[int]]) -> np.ndarray:
        size = max(map(len, targets))
        found = np.zeros((len(targets), size, model().vocabulary), np.float32)
        for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
            ends = set() if self.stops else self.ends[(*source, -1, *target[1:])]
            for place, token in enumerate([*target[1:], model().special.eos]):
                if place not in ends:
                    found[row, place, token] = self.sure
        return found


def scores(runner: Any, options: TrainingOptions) -> dict[str, float]:
    found = DENOISE.evaluate(runner, TOKENIZER, model(), [(TEXT, "")], confidence=True, options=options)
    assert all(options.objective in score.signature for score in found[:1])
    return {score.name: score.value for score in found}


@pytest.mark.parametrize("objective", ["spans", "infill"])
def test_who_knows_restores_everything(objective: str) -> None:
    options = TrainingOptions(objective=objective, context=40)
    found = scores(Oracle(30.0, options), options)
    assert found["perplexity"] == pytest.approx(1.0, abs=1e-4)
    assert found["spans restored"] == found["spans of one token restored"] == 100.0
    vague = scores(Oracle(0.0, options), options)
    assert vague["perplexity"] == pytest.approx(model().vocabulary, rel=1e-4) and vague["spans restored"] == 0.0
    endless = scores(Oracle(30.0, options, stops=False), options)
    assert endless["perplexity"] == pytest.approx(1.0, abs=1e-4) and endless["spans restored"] == 0.0


@pytest.mark.parametrize("objective", ["spans", "infill"])
def test_what_it_is_compared_with(objective: str) -> None:
    options = TrainingOptions(objective=objective, context=40, noise=0.25)
    windows = list(noised_windows(encoded(), model(), None, options))
    hidden = [one.target[start:end].tolist() for one in windows for start, end in one.spans]
    tokens = [token for span in hidden for token in span]
    found = scores(Oracle(1.0, options), options)
    left = encoded().targets[0].tolist()
    for token in tokens:
        left.remove(token)
    shares = [(left.count(token) + 1) / (len(left) + model().vocabulary) for token in tokens]
    assert found["unigram perplexity"] == pytest.approx(np.exp(-np.log(shares).mean()))
    single = [span[0] for span in hidden if len(span) == 1]
    commonest = max(sorted(set(left)), key=left.count)
    assert found["the commonest token restores"] == pytest.approx(100 * single.count(commonest) / len(single))


@pytest.mark.parametrize("objective", ["spans", "infill"])
def test_places_of_spans(objective: str) -> None:
    """The tokens of a text that its source lacks are those of its target's spans, in order."""
    options = TrainingOptions(objective=objective, context=40)
    special = model().special
    assert special.mask is not None
    sentinels = range(special.mask + 1, special.mask + 65) if objective == "spans" else range(special.mask, special.mask + 1)
    for one, window in zip(noised_windows(encoded(), model(), None, options),
                           [encoded().targets[0][at : at + 40] for at in range(0, 10_000, 40)], strict=False):
        spans = iter(one.target[start:end].tolist() for start, end in one.spans)
        source = one.source[: len(one.source) - len(special.ending)].tolist()
        back = [token for given in source for token in (next(spans) if given in sentinels else [given])]
        assert back == window.tolist() and next(spans, None) is None


def test_an_imported_model_has_its_tokens_around_a_text() -> None:
    """As BART, whose mask is the last token: it has no sentinels."""
    special = replace(model().special, prefix=(2,), suffix=(3,), mask=model().vocabulary - 1)
    config = replace(model(), special=special)
    one = next(noised_windows(encoded(), config, None, TrainingOptions(objective="infill", context=40)))
    assert (one.source[0], one.source[-1]) == (2, 3) and config.vocabulary - 1 in one.source
    with pytest.raises(UsageError, match=r"has no 64 sentinels behind the mask token, .* use --objective infill"):
        next(noised_windows(encoded(), config, None, TrainingOptions(objective="spans")))


def test_a_model_without_a_mask_is_refused() -> None:
    with pytest.raises(UsageError, match="no mask token, so nothing can be taken out of a text"):
        DENOISE.epoch(Encoded(Ragged([[]]), Ragged([[70, 71]])), model(mask=None), None, TrainingOptions())
