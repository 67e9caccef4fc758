"""Minimum Bayes risk: of several candidates the one that is most like the others (Eikema and Aziz 2020, equation 6).

Every other candidate counts as a reference alike, whether candidates are samples, whose number of copies then says how
likely they are, or an n-best list. It knows texts only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from weft.metrics import sacrebleu_metrics
from weft.spec.decoding import Utility

Likeness = Callable[[str, str], float]


def most_alike(texts: Sequence[str], utility: Utility) -> list[int]:
    """Indices of the candidates, most alike the others first; equal ones in the order given.

    utility: chrf or bleu of a candidate against another as its reference, from 0 to 100; equal texts, blank ones too, are
    wholly alike.
    """
    likeness, copies = _likeness(utility), Counter(texts)
    total = {text: sum(count * (100.0 if text == other else likeness(text, other)) for other, count in copies.items())
             for text in copies}  # each counts itself too, which adds 100 to all
    return sorted(range(len(texts)), key=lambda index: -total[texts[index]])


def _likeness(utility: Utility) -> Likeness:
    """Of two different texts, through sacreBLEU: chrF2 (Popović 2015) or BLEU of the n-grams that there are."""
    metrics = sacrebleu_metrics()
    metric = metrics.CHRF() if utility == "chrf" else metrics.BLEU(effective_order=True)
    return lambda text, other: metric.sentence_score(text, [other]).score
