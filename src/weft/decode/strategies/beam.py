"""Beam search: the W best beginnings of each request go on together, the best that ended wins (semantics 3 to 8).

Q lists, W live hypotheses each (weft.decode.strategies.beams). The functions are pure; the class only keeps their results
between steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from weft.decode.rows import Request, Rows
from weft.decode.strategies.beams import Beams, Candidates, best_candidates, first_beams, next_beams
from weft.decode.strategies.single import length_penalty
from weft.decode.strategies.strategy import Batch, Outcome
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent, Hypothesis, StepEvent, TokenEvent, Top
from weft.spec.runner import Best

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder

UNSEEN = 1e-9
"""Least attention that coverage counts with, so that a source token nobody looked at costs much, but not everything."""


def cannot_improve(best_live: float, length: int, limit: int, worst_finished: float, options: GenerationOptions
                   ) -> bool:
    """Semantics 7. best_live: sum of log-probabilities of the best live hypothesis, `length` tokens long.

    A coverage penalty can only lower what a live hypothesis reaches, so it does not enter here.
    """
    if options.early_stopping == "first":
        return True
    favours_long = options.length_penalty > 0
    reach = limit if options.early_stopping == "exact" and favours_long else length
    if options.early_stopping == "exact" and not favours_long:
        reach = length + 1
    return best_live / float(length_penalty(reach, options)) <= worst_finished


def coverage_score(received: np.ndarray, beta: float) -> float:
    """beta * sum over the source of log(min(attention received, 1)) (Wu et al. 2016, equation 14). received: [S], of each
    source token over all steps; it is at most 0."""
    return float(beta * np.log(np.clip(received.astype(np.float64), UNSEEN, 1.0)).sum())


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with alike."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


class Beam:
    """State between steps: live beams and finished hypotheses of each list, and whose they are."""

    reports_steps = True

    def __init__(self, batch: Batch) -> None:
        self.batch, self.options = batch, batch.options
        self.rows, self.groups = batch.options.beams, batch.options.beam_groups
        self.width = self.rows // self.groups
        self.candidates = (1 + len(batch.ends)) * self.width
        """Continuations looked at: W of them go on even if every other one ends."""
        self.kept = min(max(self.candidates, batch.options.logprobs), batch.runner.vocabulary_size)
        self.best = None if batch.chain.needs_logits else self.kept
        self.watches = batch.options.coverage_penalty > 0
        self.live = [request for request in batch.requests for _ in range(self.groups)]
        self.beams = first_beams(len(self.live), self.width)
        self.finished: list[list[Hypothesis]] = [[] for _ in self.live]
        self._told = dict.fromkeys((request.index for request in batch.requests), 0)
        """Tokens of each request that TokenEvents have told of."""

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.beams > 1 and options.beam_groups == 1 and not options.forced_words

    # ------------------------------------------------------------ a step

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        candidates = self.choose(step, scores)
        reasons = self.reasons(candidates, self.beams, self.live)
        if self.batch.recorder is not None:
            self._tell(self.batch.recorder, candidates, reasons != "")
        self._collect(candidates, reasons)
        self.beams, parents = self.grow(candidates, reasons != "")
        done = np.array([self.is_done(row) for row in range(len(self.live))])
        self.beams.scores[done] = -np.inf  # of groups that wait for others
        events: list[GenerationEvent] = []
        kept: list[int] = []
        for first in range(0, len(self.live), self.groups):
            lists = range(first, first + self.groups)
            if done[first : first + self.groups].all():
                events += self._finish(lists)
            else:
                kept += lists
                events += self._report(lists) if self.reports_steps else ()
        return self._outcome(np.array(kept, dtype=np.int64), parents, events)

    def choose(self, step: int, scores: np.ndarray | Best) -> Candidates:
        """What the live hypotheses could go on with."""
        if not isinstance(scores, Best):
            scores = self.batch.best(scores, self.standing(), self.kept)
        self.note(scores)
        return best_candidates(self.beams, scores, self.candidates)

    def grow(self, candidates: Candidates, ended: np.ndarray) -> tuple[Beams, np.ndarray]:
        """Live hypotheses after this step, best first, and which each continues."""
        return next_beams(self.beams, candidates, ended)

    def standing(self) -> Rows:
        """Where the rows stand: W for each list."""
        tokens = self.beams.tokens.reshape(len(self.live) * self.width, -1)
        return Rows(self.live, tokens, self.batch.ends, copies=self.width)

    def note(self, best: Best) -> None:
        """Add to the notes what this step tells of every live hypothesis, whatever it goes on with."""
        shape, notes, count = self.beams.scores.shape, dict(self.beams.notes), self.options.logprobs
        if count:
            for name, part in (("top_tokens", best.tokens), ("top_log_probs", best.log_probs)):
                new = part[:, :count].reshape(*shape, 1, -1)
                notes[name] = np.concatenate((notes[name], new), 2) if name in notes else new
        if self.watches:
            seen = self.batch.runner.attention().reshape(*shape, -1)
            notes["coverage"] = notes["coverage"] + seen if "coverage" in notes else seen
        self.beams = Beams(self.beams.scores, self.beams.tokens, self.beams.log_probs, notes)

    def reasons(self, candidates: Candidates, beams: Beams, live: Sequence[Request]) -> np.ndarray:
        """[Q, C]: why each continuation of `beams` is over; "" if it goes on, or comes after W that do."""
        reasons = np.zeros(candidates.tokens.shape, "<U5")
        for row, request in enumerate(live):
            if beams.length + 1 >= request.limit:
                reasons[row] = "limit"
        for end in self.batch.ends:
            reasons[candidates.tokens == end] = "end"
        if self.batch.stops is not None:
            for row in np.flatnonzero(self.batch.may_stop(candidates.tokens).any(axis=1)).tolist():
                self._look_for_stops(live[row], beams.tokens[row], candidates.parents[row], candidates.tokens[row],
                                     int(np.isfinite(candidates.scores[row]).sum()), reasons[row])
        return reasons

    def _look_for_stops(self, request: Request, before: np.ndarray, parents: np.ndarray, tokens: np.ndarray, count: int,
                        reasons: np.ndarray) -> None:
        """Write "stop" to the reasons [C] of a list, of which the first `count` are continuations. Each is a text to be read,
        so none after W that go on."""
        going_on = 0
        for column in range(count):
            if reasons[column] != "end":
                reasons[column] = self.batch.reason(request, [*before[parents[column]].tolist(), int(tokens[column])]) or ""
            going_on += reasons[column] == ""
            if going_on == self.width:
                return

    def _collect(self, candidates: Candidates, reasons: np.ndarray) -> None:
        """Finish the candidates that ended among the first W; keep each list's best W."""
        for row, column in np.argwhere((reasons[:, : self.width] != "")
                                       & np.isfinite(candidates.scores[:, : self.width])).tolist():
            parent, token = candidates.parents[row, column], int(candidates.tokens[row, column])
            tokens = (*self.beams.tokens[row, parent].tolist(), token)
            log_probs = (*self.beams.log_probs[row, parent].tolist(), float(candidates.log_probs[row, column]))
            score = float(candidates.scores[row, column] / length_penalty(len(tokens), self.options))
            score += self._coverage(row, parent)
            found, ended = self.finished[row], Hypothesis(tokens, log_probs, score, str(reasons[row, column]))
            better = sum(self.worse(one) <= self.worse(ended) for one in found)
            if better < self.options.n_best:  # it may be given out
                ended = replace(ended, tops=self._tops(row, parent))
            found.append(ended)
            found.sort(key=self.worse)
            del found[self.width :]

    @staticmethod
    def worse(hypothesis: Hypothesis) -> tuple[float, ...]:
        """Finished hypotheses rank by this, the lowest first, equal ones by when they were found."""
        return (-hypothesis.score,)

    def _coverage(self, row: int, beam: int) -> float:
        if not self.watches:
            return 0.0
        received = self.beams.notes["coverage"][row, beam, : len(self.live[row].source)]
        return coverage_score(received, self.options.coverage_penalty)

    def _tops(self, row: int, beam: int) -> tuple[Top, ...]:
        if not self.options.logprobs:
            return ()
        tokens, log_probs = (self.beams.notes[name][row, beam].tolist() for name in ("top_tokens", "top_log_probs"))
        return tuple(map(tuple, map(zip, tokens, log_probs)))

    def is_done(self, row: int) -> bool:
        request, found, length = self.live[row], self.finished[row], self.beams.length
        best_live = float(self.beams.scores[row, 0])
        if best_live == -np.inf or length >= request.limit:
            return True
        return len(found) == self.width and cannot_improve(best_live, length, request.limit, found[-1].score, self.options)

    # ------------------------------------------------------------ telling of it

    def _finish(self, lists: Sequence[int]) -> list[GenerationEvent]:
        request = self.live[lists[0]]
        found = sorted((one for row in lists for one in self.finished[row]), key=self.worse)
        if not found:
            raise self.batch.dead(request, self.beams.length - 1)
        told: list[GenerationEvent] = self._certain(request, found[:1]) if self.reports_steps else []
        return [*told, FinishedEvent(request.index, tuple(found[: self.options.n_best]))]

    def _report(self, lists: Sequence[int]) -> list[GenerationEvent]:
        live = sorted((one for row in lists for one in self._live_hypotheses(row)), key=lambda one: -one.score)
        possible = [*live, *(self.finished[row][0] for row in lists if self.finished[row])]
        return [*self._certain(self.live[lists[0]], possible), StepEvent(self.live[lists[0]].index, tuple(live))]

    def _tell(self, recorder: Recorder, candidates: Candidates, ended: np.ndarray) -> None:
        """Of all lists of a request together; what ends below the first W of a list is no result."""
        first = np.arange(len(self.live))[:, None] % self.groups * self.width
        told = (self.beams.scores, candidates.parents + first, candidates.tokens, candidates.log_probs,
                candidates.scores / length_penalty(self.beams.length + 1, self.options),
                ended & (np.arange(ended.shape[1]) < self.width))
        requests = self.live[:: self.groups]
        recorder.considered(requests, *(part.reshape(len(requests), -1) for part in told))

    def _certain(self, request: Request, possible: Sequence[Hypothesis]) -> list[GenerationEvent]:
        """A TokenEvent for each new token that all have in common which may still become the answer: the live hypotheses
        and the best finished one of each list."""
        told, first = self._told[request.index], possible[0]
        self._told[request.index] = certain = shared_length([one.tokens for one in possible])
        tops = first.tops or ((),) * certain
        return [TokenEvent(request.index, first.tokens[i], first.log_probs[i], top=tops[i]) for i in range(told, certain)]

    def _live_hypotheses(self, row: int) -> list[Hypothesis]:
        scores = self.beams.scores[row] / length_penalty(self.beams.length, self.options)
        return [Hypothesis(tuple(tokens), tuple(log_probs), score, "limit", self._tops(row, beam))
                for beam, (tokens, log_probs, score) in enumerate(zip(
                    self.beams.tokens[row].tolist(), self.beams.log_probs[row].tolist(), scores.tolist(), strict=True))
                if score > -np.inf]

    def _outcome(self, kept: np.ndarray, parents: np.ndarray, events: Sequence[GenerationEvent]) -> Outcome:
        rows = (kept[:, None] * self.width + parents[kept]).reshape(-1)
        self.live = [self.live[row] for row in kept.tolist()]
        self.finished = [self.finished[row] for row in kept.tolist()]
        self.beams = self.beams.lists(kept)
        last = self.beams.tokens[:, :, -1].reshape(-1) if len(kept) else np.empty(0, np.int64)
        return Outcome(rows, last, events, (self.beams.scores > -np.inf).reshape(-1))


STRATEGY = Beam
