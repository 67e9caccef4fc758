"""Beam search (semantics 3 to 8), all requests of a batch at once.

Arrays have one row a request: Q requests, W live hypotheses (beams), N tokens so far. The functions are pure; the
class only keeps their results between steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.decode.chain import best_of
from weft.decode.rows import Request, Rows
from weft.decode.strategies.single import length_penalty
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, StepEvent
from weft.spec.runner import Best


@dataclass(frozen=True)
class Beams:
    """Live hypotheses, best first. scores float32 [Q, W]; tokens int64 and log_probs float32 [Q, W, N].

    Sums are kept in float32, as in the reference, so that near ties fall alike.
    """

    scores: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray

    def requests(self, kept: np.ndarray) -> Beams:
        return Beams(self.scores[kept], self.tokens[kept], self.log_probs[kept])


@dataclass(frozen=True)
class Candidates:
    """The C best continuations of each request, best first; all [Q, C]."""

    scores: np.ndarray
    parents: np.ndarray
    """Index of the live hypothesis that each continues."""
    tokens: np.ndarray
    log_probs: np.ndarray


def first_beams(requests: int, width: int) -> Beams:
    """One empty hypothesis a request; the others cannot be chosen from."""
    scores = np.full((requests, width), -np.inf, np.float32)
    scores[:, 0] = 0.0
    return Beams(scores, np.empty((requests, width, 0), np.int64), np.empty((requests, width, 0), np.float32))


def best_candidates(beams: Beams, best: Best, count: int) -> Candidates:
    """best: [Q * W, k] -> (Q x W k) scored continuations -> the best `count`, ties to the lower beam, then token."""
    requests, width = beams.scores.shape
    tokens, log_probs = (part.reshape(requests, width, -1) for part in (best.tokens, best.log_probs))
    scores = (beams.scores[:, :, None] + log_probs).reshape(requests, -1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    take = np.take_along_axis
    return Candidates(take(scores, order, 1), order // tokens.shape[2], take(tokens.reshape(requests, -1), order, 1),
                      take(log_probs.reshape(requests, -1), order, 1))


def next_beams(beams: Beams, candidates: Candidates, ended: np.ndarray) -> tuple[Beams, np.ndarray]:
    """The first W candidates that go on, and which live hypothesis each continues, int64 [Q, W]."""
    width = beams.scores.shape[1]
    order = np.argsort(ended, axis=1, kind="stable")[:, :width]
    take = np.take_along_axis
    parents, tokens, log_probs, scores = (
        take(part, order, 1) for part in (candidates.parents, candidates.tokens, candidates.log_probs,
                                          np.where(ended, np.float32(-np.inf), candidates.scores)))
    grown = (np.concatenate((take(old, parents[:, :, None], 1), new[:, :, None]), 2)
             for old, new in ((beams.tokens, tokens), (beams.log_probs, log_probs)))
    return Beams(scores, *grown), parents


def cannot_improve(best_live: float, length: int, limit: int, worst_finished: float, options: GenerationOptions
                   ) -> bool:
    """Semantics 7. best_live: sum of log-probabilities of the best live hypothesis, `length` tokens long."""
    if options.early_stopping == "first":
        return True
    favours_long = options.length_penalty > 0
    reach = limit if options.early_stopping == "exact" and favours_long else length
    if options.early_stopping == "exact" and not favours_long:
        reach = length + 1
    return best_live / float(length_penalty(reach, options)) <= worst_finished


class Beam:
    """State between steps: live beams, finished hypotheses of each request, requests still open."""

    reports_steps = True

    def __init__(self, batch: Batch) -> None:
        self.batch, self.options = batch, batch.options
        self.rows = width = batch.options.beams
        self.candidates = (1 + len(batch.ends)) * width
        """Continuations looked at: W of them go on even if every other one ends."""
        self.kept = min(self.candidates, batch.runner.vocabulary_size)
        self.best = None if batch.chain.needs_logits else self.kept
        self.live = list(batch.requests)
        self.beams = first_beams(len(self.live), width)
        self.finished: dict[int, list[Hypothesis]] = {request.index: [] for request in self.live}

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beams > 1

    def standing(self) -> Rows:
        """Where the rows stand: W for each request."""
        requests = [request for request in self.live for _ in range(self.rows)]
        return Rows(requests, self.beams.tokens.reshape(len(requests), -1), self.batch.ends)

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        if not isinstance(scores, Best):
            scores = best_of(self.batch.chain.log_probs(scores, self.standing(), self.batch.banned(step)), self.kept)
        candidates = best_candidates(self.beams, scores, self.candidates)
        reasons = self._reasons(candidates)
        ended = reasons != ""
        self._collect(candidates, reasons)
        self.beams, parents = next_beams(self.beams, candidates, ended)
        events: list[GenerationEvent] = []
        kept = []
        for row, request in enumerate(self.live):
            if self._is_done(row, request, step + 1):
                events.append(FinishedEvent(request.index, self._results(request)))
            else:
                kept.append(row)
                if self.reports_steps:
                    events.append(StepEvent(request.index, self._live_hypotheses(row)))
        return self._outcome(np.array(kept, dtype=np.int64), parents, events)

    def _reasons(self, candidates: Candidates) -> np.ndarray:
        """[Q, C]: why each continuation is over; "" if it goes on."""
        length = self.beams.tokens.shape[2] + 1
        at_limit = np.array([length >= request.limit for request in self.live])
        reasons = np.where(at_limit[:, None], "limit", np.full(candidates.tokens.shape, "", dtype="<U5"))
        if self.batch.stops is not None:
            for row, column in np.argwhere(np.isfinite(candidates.scores)).tolist():
                before = self.beams.tokens[row, candidates.parents[row, column]].tolist()
                tokens = [*before, int(candidates.tokens[row, column])]
                reasons[row, column] = self.batch.reason(self.live[row], tokens) or ""
        return np.where(np.isin(candidates.tokens, list(self.batch.ends)), "end", reasons)

    def _collect(self, candidates: Candidates, reasons: np.ndarray) -> None:
        """Finish the candidates that ended among the first W; keep each request's best W."""
        width = self.options.beams
        for row, column in np.argwhere((reasons[:, :width] != "") & np.isfinite(candidates.scores[:, :width])).tolist():
            parent, token = candidates.parents[row, column], int(candidates.tokens[row, column])
            tokens = (*self.beams.tokens[row, parent].tolist(), token)
            log_probs = (*self.beams.log_probs[row, parent].tolist(), float(candidates.log_probs[row, column]))
            score = float(candidates.scores[row, column] / length_penalty(len(tokens), self.options))
            found = self.finished[self.live[row].index]
            found.append(Hypothesis(tokens, log_probs, score, str(reasons[row, column])))
            found.sort(key=lambda hypothesis: -hypothesis.score)
            del found[width:]

    def _is_done(self, row: int, request: Request, length: int) -> bool:
        found = self.finished[request.index]
        best_live = float(self.beams.scores[row, 0])
        if best_live == -np.inf or length >= request.limit:
            return True
        return len(found) == self.options.beams and cannot_improve(
            best_live, length, request.limit, found[-1].score, self.options)

    def _results(self, request: Request) -> tuple[Hypothesis, ...]:
        found = self.finished.pop(request.index)
        if not found:
            raise self.batch.dead(request, self.beams.tokens.shape[2] - 1)
        return tuple(found[: self.options.n_best])

    def _live_hypotheses(self, row: int) -> tuple[Hypothesis, ...]:
        length = self.beams.tokens.shape[2]
        scores = self.beams.scores[row] / length_penalty(length, self.options)
        return tuple(Hypothesis(tuple(tokens), tuple(log_probs), score, "limit") for tokens, log_probs, score in zip(
            self.beams.tokens[row].tolist(), self.beams.log_probs[row].tolist(), scores.tolist(), strict=True)
            if score > -np.inf)

    def _outcome(self, kept: np.ndarray, parents: np.ndarray, events: Sequence[GenerationEvent]) -> Outcome:
        width = self.options.beams
        rows = (kept[:, None] * width + parents[kept]).reshape(-1)
        self.live = [self.live[row] for row in kept.tolist()]
        self.beams = self.beams.requests(kept)
        last = self.beams.tokens[:, :, -1].reshape(-1) if len(kept) else np.empty(0, np.int64)
        return Outcome(rows, last, events)


STRATEGY = Beam
