"""BLEU and chrF through sacreBLEU (Post 2018), and the tokenised BLEU of papers on small data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weft.errors import UnknownNameError, UsageError
from weft.metrics.metric import Score, Texts

BOOTSTRAP_SAMPLES = 1000


def bleu(outputs: Texts, references: Texts, *, confidence: bool = False) -> Score:
    """sacreBLEU's default: cased, 13a tokens, exponential smoothing."""
    return _score("sacreBLEU", sacrebleu_metrics().BLEU(), outputs, references, confidence)


def chrf(outputs: Texts, references: Texts, *, confidence: bool = False) -> Score:
    """chrF2 (Popović 2015)."""
    return _score("chrF2", sacrebleu_metrics().CHRF(), outputs, references, confidence)


def tokenized_bleu(outputs: Texts, references: Texts, language: str) -> Score:
    """Lower-cased BLEU of Moses tokens: multi-bleu.perl as Wu et al. 2021 and much work on Multi30k report it.

    language: as in moses_tokens, which says what it raises.
    """
    tokens = moses_tokens(language)
    from sacremoses import __version__ as version

    metric = sacrebleu_metrics().BLEU(tokenize="none", force=True, smooth_method="none")
    outputs, references = [tokens(text) for text in outputs], [tokens(text) for text in references]
    score = _score("", metric, outputs, references, False)
    return Score("tokenised BLEU", score.value, f"{score.signature}|lc|moses.{language}|norm.punct|sacremoses:{version}")


def moses_tokens(language: str) -> Callable[[str], str]:
    """Text -> lower-cased Moses tokens with spaces between, punctuation normalised. language: two letters.

    Raises UsageError if sacremoses is not installed or lacks the language, of which it would say nothing itself.
    """
    try:
        from sacremoses import MosesPunctNormalizer, MosesTokenizer
        from sacremoses.corpus import NonbreakingPrefixes
    except ImportError as error:
        raise UsageError("tokenised BLEU needs the package sacremoses: pip install 'weft[eval]'") from error
    known = set(NonbreakingPrefixes().available_langs.values())
    if language not in known:
        raise UnknownNameError("Moses language", language, known)
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return lambda text: tokenizer.tokenize(normalizer.normalize(text), return_str=True, escape=False).lower()


def sacrebleu_metrics() -> Any:
    """The module sacrebleu.metrics. Raises UsageError if it is not installed."""
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise UsageError("BLEU and chrF, and so mbr, need the package sacrebleu: pip install 'weft[eval]'") from error
    return metrics


def _score(name: str, metric: Any, outputs: Texts, references: Texts, confidence: bool) -> Score:
    if len(outputs) != len(references) or not outputs:
        raise UsageError(f"{len(outputs)} outputs and {len(references)} references; scores need as many of each, and "
                         f"at least one")
    samples = BOOTSTRAP_SAMPLES if confidence else 1
    try:
        found = metric.corpus_score(list(outputs), [list(references)], n_bootstrap=samples)
    except TypeError:  # sacreBLEU 2.6 cannot average resamples of which some score exactly 0: no interval then
        found, confidence = metric.corpus_score(list(outputs), [list(references)]), False
    return Score(name, found.score, str(metric.get_signature()), getattr(found, "_ci", None) if confidence else None)
