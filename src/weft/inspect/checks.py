"""What must hold of any model, proved on the user's own: one function a check, run by `weft doctor`.

Inputs are random tokens of the model's vocabulary, the same in every run. A check compares two ways to the same answer and
says what it compared and by how much they differed. Arithmetic in another order rounds otherwise, so a difference up to
TOLERANCE, of the larger number where that is above 1, is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from weft.backends import choose
from weft.decode import generate_batch
from weft.decode.recorder import Recorder
from weft.decode.strategies.beam import Beam
from weft.errors import UsageError, WeftError
from weft.model import Model
from weft.spec.config import LanguageModelHead
from weft.spec.decoding import GenerationOptions
from weft.spec.decoding_trace import PRUNED, RequestTrace
from weft.spec.events import Hypothesis

TOLERANCE = 1e-4
LENGTHS = (3, 9, 1, 14, 5, 2, 11, 7)
NEW = 12
BEAMS = 4
Rows = list[list[int]]


@dataclass(frozen=True)
class Finding:
    """passed: None where there is nothing to fail, only to tell."""

    name: str
    passed: bool | None
    told: str


class Patient:
    """A model with inputs for it. sources: what its encoder or its decoder reads, one row a length."""

    def __init__(self, model: Model) -> None:
        self.model, self.runner, self.config = model, model.runner, model.config
        special, window = model.config.special, model.config.window
        self.generates = model.config.decoder is not None and isinstance(model.config.head, LanguageModelHead)
        self.is_decoder_only = model.config.encoder is None
        room = window.target if self.is_decoder_only else window.source
        suffix = () if self.is_decoder_only else special.ending
        most = max(1, room // 2 - len(special.prefix) - len(suffix))
        self.sources: Rows = [[*special.prefix, *self.random(min(length, most), seed), *suffix]
                              for seed, length in enumerate(LENGTHS)]
        self.new = min(NEW, window.target - max(map(len, self.sources)) if self.is_decoder_only else window.target)

    def random(self, length: int, seed: int) -> list[int]:
        """Tokens that may stand in a text."""
        special = self.config.special
        marks = {special.pad, special.bos, special.eos, special.start, *special.prefix, *(special.suffix or ()),
                 *self.model.defaults.banned}
        rng, vocabulary = np.random.default_rng(seed), min(self.config.vocabulary, len(self.model.tokenizer))
        drawn = [int(token) for token in rng.integers(0, vocabulary, 50 * length) if token not in marks]
        return (drawn or [vocabulary - 1])[:length]

    def options(self, **options: object) -> GenerationOptions:
        """Only what the model must not say, of its defaults."""
        base = GenerationOptions(max_new_tokens=self.new, banned=self.model.defaults.banned, eos=self.model.defaults.eos)
        return replace(base, **options)  # type: ignore[arg-type]

    def decode(self, options: GenerationOptions, rows: Rows | None = None, **arguments: object) -> list[tuple[Hypothesis, ...]]:
        rows = self.sources if rows is None else rows
        sources, prompts = (None, rows) if self.is_decoder_only else (rows, None)
        return generate_batch(self.runner, sources, options, prompts=prompts, **arguments)

    def step(self, tokens: list[int]) -> np.ndarray:
        """Logits [rows, V] after one more token of each row."""
        logits = self.runner.step(np.array(tokens, np.int64))
        assert isinstance(logits, np.ndarray)
        return logits

    def whole(self, rows: Rows, targets: Rows) -> list[np.ndarray]:
        """Logits [T, V] of each target after each source, computed together; decoder-only models have targets only."""
        found = self.runner.logits(None if self.is_decoder_only else rows, targets)
        return [logits[: len(target)] for logits, target in zip(found, targets, strict=True)]


def findings(model: Model) -> Iterator[Finding]:
    """Every check that applies to the model, one after another; one that raises an error has failed."""
    patient = Patient(model)
    for check in GENERATING if patient.generates else READING:
        try:
            yield check(patient)
        except WeftError as error:
            yield Finding(check.__name__.replace("_", " "), False, f"an error: {error}")
    try:
        yield from others(patient)
    except WeftError as error:
        yield Finding("backends", False, f"an error: {error}")


# ---------------------------------------------------------------- generating models


def batches(patient: Patient) -> Finding:
    """An input decoded alone and among others."""
    ways = {"greedy": patient.options(), f"{BEAMS} beams": patient.options(beams=BEAMS),
            "sampling": patient.options(sample=True)}
    worst, unlike = 0.0, []
    for name, options in ways.items():
        seeds = list(range(len(patient.sources)))
        together = patient.decode(options, seeds=seeds)
        alone = [patient.decode(options, [row], seeds=[seed])[0] for row, seed in zip(patient.sources, seeds, strict=True)]
        gaps = [_gap(one[0], other[0]) for one, other in zip(together, alone, strict=True)]
        worst = max([worst, *gaps], key=_nan_first)
        unlike += [f"{name}, input {place + 1}" for place, gap in enumerate(gaps) if not gap <= TOLERANCE]
    return _finding("batch of one, batch of many", worst,
                    f"{', '.join(ways)}: {len(patient.sources)} inputs, alone and together", unlike)


def padding(patient: Patient) -> Finding:
    """An input alone and padded by longer ones: on the right in whole passes, on the left in front of decoding steps."""
    targets = patient.sources if patient.is_decoder_only else [
        [patient.config.special.start, *patient.random(length, 100 + length)] for length in reversed(LENGTHS)]
    targets = [target[: patient.config.window.target] for target in targets]
    together = patient.whole(patient.sources, targets)
    alone = [patient.whole([row], [target])[0] for row, target in zip(patient.sources, targets, strict=True)]
    gaps, sides = _logit_gaps(together, alone), "the right"
    if patient.is_decoder_only:
        patient.runner.start(None, 1, [row[:-1] for row in patient.sources])
        stepped = patient.step([row[-1] for row in patient.sources])
        gaps = [max(gap, other, key=_nan_first) for gap, other in
                zip(gaps, _logit_gaps(stepped, [logits[-1] for logits in alone]), strict=True)]
        sides = "either side"
    return _finding("padding", max(gaps, key=_nan_first), f"logits of {len(gaps)} inputs alone and padded on {sides}",
                    _beyond(gaps))


def caches(patient: Patient) -> Finding:
    """Step by step over what is remembered, rows changing places on the way, and all at once."""
    rows, copies = patient.sources[:4], 2
    length = max(1, min(8, patient.new))
    histories: list[list[int]] = []
    for row in rows:
        begin = row if patient.is_decoder_only else [patient.config.special.start]
        histories += [list(begin) for _ in range(copies)]
    if patient.is_decoder_only:
        patient.runner.start(None, copies, [row[:-1] for row in rows])
    else:
        patient.runner.start(patient.runner.encode(rows), copies)
    gaps: list[float] = []
    for step in range(length):
        stepped = patient.step([history[-1] for history in histories])
        whole = patient.whole([row for row in rows for _ in range(copies)], histories)
        gaps.append(max(_logit_gaps(stepped, [logits[-1] for logits in whole]), key=_nan_first))
        order = np.arange(len(histories)).reshape(-1, copies)[:, ::-1 if step % 2 else 1].flatten()
        patient.runner.gather(order)
        histories = [[*histories[row], *patient.random(1, 1000 + 31 * step + place)] for place, row in enumerate(order)]
    return _finding("cached, uncached", max(gaps, key=_nan_first),
                    f"logits of {length} steps of {len(histories)} rows that change places, step by step and at once",
                    _beyond(gaps, "step"))


def one_beam(patient: Patient) -> Finding:
    """Beam search with one beam and greedy search."""
    options = patient.options(length_penalty=0.0)  # so that nothing longer can be better than what has ended
    greedy, beam = patient.decode(options), patient.decode(options, strategy=Beam)
    gaps = [_gap(one[0], other[0]) for one, other in zip(greedy, beam, strict=True)]
    return _finding("one beam, greedy", max(gaps, key=_nan_first), f"{len(gaps)} inputs", _beyond(gaps))


def beams_and_greedy(patient: Patient) -> Finding:
    """The best of several beams scores no lower than greedy, unless better beginnings have pushed greedy's out."""
    greedy, recorder = patient.decode(patient.options()), Recorder()
    patient.decode(patient.options(beams=BEAMS), recorder=recorder)
    beam = recorder.requests
    gains = [request.results[0].score - hypotheses[0].score for request, hypotheses in zip(beam, greedy, strict=True)]
    below = [place for place, gain in enumerate(gains) if not gain >= -TOLERANCE]
    wrong = [f"input {place + 1}" for place in below if not _was_pruned(beam[place], greedy[place][0])]
    told = f"scores of {len(gains)} inputs, {BEAMS} beams against greedy: {min(gains):+.2g} to {max(gains):+.2g}"
    if len(below) > len(wrong):
        told += f"; {len(below) - len(wrong)} below, where {BEAMS} better beginnings had pushed greedy's out"
    return Finding("beams, greedy", not wrong, told + (f"; without a reason: {', '.join(wrong)}" if wrong else ""))


def n_best(patient: Patient) -> Finding:
    """n-best lists are sorted, hold nothing twice, come again the same, and a shorter one is the beginning of a longer."""
    found = patient.decode(patient.options(beams=BEAMS, n_best=BEAMS))
    wrong = []
    for place, hypotheses in enumerate(found, 1):
        if not all(one.score >= other.score for one, other in pairwise(hypotheses)):
            wrong.append(f"input {place} is not sorted")
        if len({hypothesis.tokens for hypothesis in hypotheses}) < len(hypotheses):
            wrong.append(f"input {place} has one twice")
    if patient.decode(patient.options(beams=BEAMS, n_best=BEAMS)) != found:
        wrong.append("a second run gives others")
    if patient.decode(patient.options(beams=BEAMS, n_best=2)) != [hypotheses[:2] for hypotheses in found]:
        wrong.append("the two best are not the first two of more")
    return Finding("n-best", not wrong,
                   f"{BEAMS} best of {len(found)} inputs: {'; '.join(wrong) or 'sorted, distinct, stable'}")


def seeds(patient: Patient) -> Finding:
    """The same seed draws the same, in any place of a batch."""
    options, numbers = patient.options(sample=True), list(range(len(patient.sources)))
    first = patient.decode(options, seeds=numbers)
    again = patient.decode(options, seeds=numbers)
    turned = patient.decode(options, patient.sources[::-1], seeds=numbers[::-1])[::-1]
    gaps = [max(_gap(one[0], other[0]), _gap(one[0], third[0]), key=_nan_first)
            for one, other, third in zip(first, again, turned, strict=True)]
    others = patient.decode(options, seeds=[number + 1000 for number in numbers])
    changed = sum(one[0].tokens != other[0].tokens for one, other in zip(first, others, strict=True))
    return _finding("seeds", max(gaps, key=_nan_first),
                    f"{len(gaps)} inputs drawn twice and in reverse; other seeds changed {changed} of them", _beyond(gaps))


# ---------------------------------------------------------------- reading models


def texts_in_batches(patient: Patient) -> Finding:
    """A text alone, and padded on the right by longer ones, in either order."""
    together, turned = patient.runner.score_all(patient.sources), patient.runner.score_all(patient.sources[::-1])[::-1]
    alone = [patient.runner.score_all([row])[0] for row in patient.sources]
    gaps = [max(one, other, key=_nan_first) for one, other in
            zip(_logit_gaps(together, alone), _logit_gaps(turned, alone), strict=True)]
    return _finding("batch of one, batch of many", max(gaps, key=_nan_first),
                    f"{len(gaps)} texts alone, together and in reverse, padded on the right", _beyond(gaps))


# ---------------------------------------------------------------- any model


def others(patient: Patient) -> Iterator[Finding]:
    """The other backend, which in fp32 must say the same; and narrower numbers on this one, which is told."""
    model = patient.model
    for backend, precision in (("native", "fp32"), ("torch", "fp32"), (model.backend, "bf16"), (model.backend, "int8")):
        if (backend, precision) == (model.backend, model.precision):
            continue
        try:
            choose(model.bundle, backend, precision)
        except UsageError:
            continue
        yield _compared(patient, Patient(Model(model.bundle, backend, precision)))


def _compared(patient: Patient, other: Patient) -> Finding:
    ours, theirs = (f"{one.model.backend} {one.model.precision}" for one in (patient, other))
    if patient.generates:
        answers = [one.decode(patient.options()) for one in (patient, other)]
        gaps = [_gap(one[0], two[0]) for one, two in zip(*answers, strict=True)]
        same = [one[0].tokens == two[0].tokens for one, two in zip(*answers, strict=True)]
        told = f"greedy: {sum(same)} of {len(same)} inputs give the same tokens"
    else:
        scores = [one.runner.score_all(patient.sources) for one in (patient, other)]
        gaps = _logit_gaps(*scores)
        same = [_best_of(one) == _best_of(two) for one, two in zip(*scores, strict=True)]
        told = f"{sum(same)} of {len(same)} texts have the same best answers"
    worst = max(gaps, key=_nan_first)
    exact = patient.model.precision == other.model.precision == "fp32"
    return Finding(f"backends: {ours}, {theirs}", worst <= TOLERANCE if exact else None,
                   f"{told}; largest difference {worst:.1g}")


GENERATING: tuple[Callable[[Patient], Finding], ...] = (batches, padding, caches, one_beam, beams_and_greedy, n_best, seeds)
READING: tuple[Callable[[Patient], Finding], ...] = (texts_in_batches,)


# ---------------------------------------------------------------- comparing


def _finding(name: str, worst: float, compared: str, unlike: Sequence[str]) -> Finding:
    told = f"{compared}; largest difference {worst:.1g}"
    return Finding(name, not unlike, told + (f", beyond {TOLERANCE:g} in {', '.join(unlike)}" if unlike else ""))


def _beyond(gaps: Sequence[float], what: str = "input") -> list[str]:
    return [f"{what} {place + 1}" for place, gap in enumerate(gaps) if not gap <= TOLERANCE]


def _gap(one: Hypothesis, other: Hypothesis) -> float:
    """Largest difference of log-probabilities; where tokens differ, that of the scores, for two that tie may change places."""
    if one.tokens == other.tokens:
        return _difference(np.array(one.log_probs), np.array(other.log_probs))
    return abs(one.score - other.score)


def _logit_gaps(ones: Sequence[np.ndarray] | np.ndarray, others: Sequence[np.ndarray]) -> list[float]:
    return [_difference(one, other) for one, other in zip(ones, others, strict=True)]


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest |one - other|, of the largest number where that is above 1; NaN counts as beyond any tolerance."""
    scale = max(1.0, float(np.abs(other).max(initial=0.0)))
    return float(np.abs(one - other).max(initial=0.0)) / scale


def _nan_first(gap: float) -> float:
    return np.inf if np.isnan(gap) else gap


def _best_of(scores: np.ndarray) -> list[int]:
    return np.atleast_2d(scores).argmax(-1).tolist()


def _was_pruned(beam: RequestTrace, greedy: Hypothesis) -> bool:
    """Whether the search dropped the beginning of greedy's hypothesis for others with no smaller sums."""
    row = 0
    for step, token in zip(beam.steps, greedy.tokens, strict=False):
        told = step.continuations
        places = np.flatnonzero((told.parents == row) & (told.tokens == token))
        going_on = [float(total) for total, fate in zip(told.sums, told.fates, strict=True) if fate != PRUNED]
        if not len(places):  # below all that were looked at
            return len(going_on) >= BEAMS
        (place,) = places
        if told.fates[place] == PRUNED:
            return min(going_on) >= told.sums[place]
        if told.places[place] < 0:
            return False
        row = int(told.places[place])
    return False
