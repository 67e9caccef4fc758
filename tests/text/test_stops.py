"""Stop strings: a quick look at one token never misses what decoding the whole text would find."""

from __future__ import annotations

import numpy as np
import pytest

from weft.text import Tokenizer
from weft.text.stops import first_stop, may_complete

LINES = ["le café est là, où ça ?", "un été d'années — «\u202fnaïf\u202f»", "ab ba aab \U0001f9f5 bab",
         "\u4f60\u597d, \u4e16\u754c"]


@pytest.mark.parametrize("kind", ["byte_bpe", "metaspace_bpe", "unigram", "character"])
def test_a_stop_ends_within_a_token_that_may_complete_it(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, LINES * 5, 400)
    rng, texts = np.random.default_rng(0), " ".join(LINES)
    for _ in range(300):
        spelt = tokenizer.encode(texts[rng.integers(20) :])[:12]
        ids = rng.integers(0, len(tokenizer), 8).tolist() if rng.random() < 0.5 else spelt
        begin = int(rng.integers(len(texts)))
        stops = [texts[begin : begin + int(rng.integers(1, 4))], "a", "\ufffd"][: int(rng.integers(1, 4))]
        for end in range(1, len(ids) + 1):
            if first_stop(tokenizer.decode(ids[: end - 1]), stops) is None and \
                    first_stop(tokenizer.decode(ids[:end]), stops) is not None:
                assert may_complete(tokenizer, stops, ids[end - 1]), (ids[:end], stops)


def test_most_tokens_complete_no_stop() -> None:
    tokenizer = Tokenizer.train("metaspace_bpe", LINES * 5, 400)
    completing = [token for token in range(len(tokenizer)) if may_complete(tokenizer, ["zz", "xyzzy"], token)]
    assert {tokenizer.bytes_of(token) for token in completing} == {b"y", b"z"}
