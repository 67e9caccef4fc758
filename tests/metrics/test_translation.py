"""BLEU and chrF against values worked out elsewhere, and signatures that name what changes the number."""

from __future__ import annotations

import math
import sys

import pytest

from weft.decode.mbr import most_alike
from weft.errors import UnknownNameError, UsageError
from weft.metrics import Score, bleu, chrf, moses_tokens, tokenized_bleu

REFERENCES = ["The cat sat on the mat.", "It is raining again today.", "Where is the station?"]
OUTPUTS = ["The cat sat on a mat.", "It is raining again today.", "Where is the train station?"]


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_ends_of_the_scale(metric) -> None:
    assert metric(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert metric(["xyz"] * 3, REFERENCES).value < 2
    assert 0 < metric(OUTPUTS, REFERENCES).value < 100


def test_bleu_by_hand() -> None:
    """One sentence of 7 tokens, the fifth wrong: precisions 6/7, 4/6, 2/5, 1/4, and no brevity penalty."""
    expected = 100 * math.exp(sum(map(math.log, (6 / 7, 4 / 6, 2 / 5, 1 / 4))) / 4)
    assert bleu(OUTPUTS[:1], REFERENCES[:1]).value == pytest.approx(expected)


def test_without_sacrebleu_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    for use in (lambda: bleu(OUTPUTS, REFERENCES), lambda: chrf(OUTPUTS, REFERENCES), lambda: most_alike(OUTPUTS, "chrf")):
        with pytest.raises(UsageError, match=r"need the package sacrebleu: pip install 'weft\[eval\]'"):
            use()


def test_signatures() -> None:
    assert bleu(OUTPUTS, REFERENCES).signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert chrf(OUTPUTS, REFERENCES).signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert "bs:1000|seed:12345" in bleu(OUTPUTS, REFERENCES, confidence=True).signature
    assert "tok:none|smooth:none" in (found := tokenized_bleu(OUTPUTS, REFERENCES, "en").signature)
    assert "|lc|moses.en|norm.punct|sacremoses:" in found


def test_confidence_is_asked_for_and_repeats() -> None:
    assert bleu(OUTPUTS, REFERENCES).interval is None
    many = OUTPUTS * 20, REFERENCES * 20
    for metric in (bleu, chrf):
        first, second = metric(*many, confidence=True), metric(*many, confidence=True)
        assert first == second and first.interval is not None and 0 < first.interval < 20
        assert first.value == pytest.approx(metric(*many).value), "the interval does not move the score"


def test_tokenized_bleu_ignores_case_and_splits_punctuation() -> None:
    assert tokenized_bleu(["THE CAT SAT ON THE MAT ."], REFERENCES[:1], "en").value == pytest.approx(100)
    assert moses_tokens("fr")("L\u2019homme dit : \u00ab Oui. \u00bb") == 'l\' homme dit : " oui . "'
    assert moses_tokens("de")("A & B") == "a & b", "nothing is escaped for XML"


def test_multi_bleu_has_no_smoothing() -> None:
    without_a_4_gram = ["The cat sat at a rug."]
    assert tokenized_bleu(without_a_4_gram, REFERENCES[:1], "en").value == 0
    assert bleu(without_a_4_gram, REFERENCES[:1]).value > 0


def test_bad_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    for outputs, references in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(UsageError, match=f"{len(outputs)} outputs and {len(references)} references"):
            bleu(outputs, references)
    with pytest.raises(UnknownNameError, match="unknown Moses language 'xx'"):
        tokenized_bleu(["a"], ["a"], "xx")
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(UsageError, match=r"needs the package sacremoses: pip install 'weft\[eval\]'"):
        moses_tokens("de")


def test_how_a_score_prints() -> None:
    assert str(Score("BLEU", 41.234, "sig")) == "BLEU 41.23   sig"
    assert str(Score("BLEU", 41.234, "sig", 1.5)) == "BLEU 41.23 ± 1.50   sig"


def test_an_interval_that_cannot_be_had_is_left_out() -> None:
    """Some resamples hold only the second line, whose chrF is exactly 0; the score itself is still given."""
    score = chrf(["one.", "xyz"], ["one.", "qqq"], confidence=True)
    assert score.interval is None and score.value == pytest.approx(chrf(["one.", "xyz"], ["one.", "qqq"]).value)
