"""Beam search (semantics 3 to 8), all requests of a batch at once.

Arrays have one row a request: Q requests, W live hypotheses (beams), N tokens so far. The functions are pure; the
class only keeps their results between steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.decode.strategies.single import length_penalty
from weft.decode.strategies.strategy import Outcome, Request, banned_ids
from weft.spec.decoding import Best, GenerationOptions, Runner
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, StepEvent


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
    """The 2W best continuations of each request, best first; all [Q, 2W]."""

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


def best_candidates(beams: Beams, best: Best) -> Candidates:
    """best: [Q * W, k] -> (Q x W k) scored continuations -> the best 2W, ties to the lower beam, then token."""
    requests, width = beams.scores.shape
    tokens, log_probs = (part.reshape(requests, width, -1) for part in (best.tokens, best.log_probs))
    scores = (beams.scores[:, :, None] + log_probs).reshape(requests, -1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : 2 * width]
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

    def __init__(self, options: GenerationOptions, runner: Runner, requests: Sequence[Request]) -> None:
        self.options, self.eos = options, runner.eos
        self.rows, self.best = options.beams, min(2 * options.beams, runner.vocabulary_size)
        self.live = list(requests)
        self.beams = first_beams(len(requests), options.beams)
        self.finished: dict[int, list[Hypothesis]] = {request.index: [] for request in requests}

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beams > 1 and not options.sample

    def banned(self, step: int) -> Sequence[int]:
        return banned_ids(self.options, self.eos, step)

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        assert isinstance(scores, Best)
        candidates = best_candidates(self.beams, scores)
        at_limit = np.array([step + 1 >= request.limit for request in self.live])
        ended = (candidates.tokens == self.eos) | at_limit[:, None]
        self._collect(candidates, ended)
        self.beams, parents = next_beams(self.beams, candidates, ended)
        events: list[GenerationEvent] = []
        kept = []
        for row, request in enumerate(self.live):
            if at_limit[row] or self._is_done(row, request, step + 1):
                events.append(FinishedEvent(request.index, self._results(request)))
            else:
                kept.append(row)
                if self.reports_steps:
                    events.append(StepEvent(request.index, self._live_hypotheses(row)))
        return self._outcome(np.array(kept, dtype=np.int64), parents, events)

    def _collect(self, candidates: Candidates, ended: np.ndarray) -> None:
        """Finish the candidates that ended among the first W; keep each request's best W."""
        width = self.options.beams
        for row, column in np.argwhere(ended[:, :width] & np.isfinite(candidates.scores[:, :width])).tolist():
            parent, token = candidates.parents[row, column], int(candidates.tokens[row, column])
            tokens = (*self.beams.tokens[row, parent].tolist(), token)
            log_probs = (*self.beams.log_probs[row, parent].tolist(), float(candidates.log_probs[row, column]))
            score = float(candidates.scores[row, column] / length_penalty(len(tokens), self.options))
            found = self.finished[self.live[row].index]
            found.append(Hypothesis(tokens, log_probs, score, token == self.eos))
            found.sort(key=lambda hypothesis: -hypothesis.score)
            del found[width:]

    def _is_done(self, row: int, request: Request, length: int) -> bool:
        found = self.finished[request.index]
        best_live = float(self.beams.scores[row, 0])
        if best_live == -np.inf:
            return True
        return len(found) == self.options.beams and cannot_improve(
            best_live, length, request.limit, found[-1].score, self.options)

    def _results(self, request: Request) -> tuple[Hypothesis, ...]:
        found = self.finished.pop(request.index)
        return tuple(found[: self.options.n_best]) or (Hypothesis((), (), -np.inf, False),)

    def _live_hypotheses(self, row: int) -> tuple[Hypothesis, ...]:
        length = self.beams.tokens.shape[2]
        scores = self.beams.scores[row] / length_penalty(length, self.options)
        return tuple(Hypothesis(tuple(tokens), tuple(log_probs), score, False) for tokens, log_probs, score in zip(
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
