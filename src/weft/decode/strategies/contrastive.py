"""Contrastive search: among the top_k likeliest tokens the one that is likely and leads somewhere new.

Su et al. 2022, equation 5: of the candidates v, the largest of (1 - alpha) p(v) - alpha max_j cos(h_v, h_j), where h are the
decoder's last hidden states: h_v once v is read, h_j of every token read before. It knows h_v by reading every candidate,
each in a row of its own, which also gives what may follow it. As in Hugging Face's `_contrastive_search`, the first token is
chosen so too, an encoder-decoder's h_j begin with its start token, and the end is a candidate like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weft.decode.strategies.single import SingleRow
from weft.decode.strategies.strategy import Batch, Outcome
from weft.decode.watched import Seen
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best

if TYPE_CHECKING:
    from weft.decode.recorder import Recorder


@dataclass(frozen=True)
class Weighed:
    """How the candidates compare, all float32 [Q, K]: (1 - alpha) p, the largest cosine with a state before, and the first
    less alpha times the second; -inf for a forbidden token, which is no candidate."""

    before: np.ndarray
    likeness: np.ndarray
    after: np.ndarray


class Contrastive(SingleRow):
    """Q live requests of K rows, which hold its candidates; D is the size of a hidden state."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.rows = min(batch.options.top_k, batch.runner.vocabulary_size)
        self.count = max(self.rows, batch.options.logprobs)
        self.best = None if batch.chain.needs_logits else self.count
        self._candidates: Best | None = None
        self._weighed: Weighed | None = None
        self._seen: Seen | None = None
        """What a recorder saw when the candidates were found."""
        self._contexts: dict[int, np.ndarray] = {}
        """Of each request, the directions of all hidden states so far, float32 [read, D]."""

    @staticmethod
    def accepts(options: GenerationOptions) -> bool:
        return options.penalty_alpha > 0

    def advance(self, step: int, scores: np.ndarray | Best) -> Outcome:
        hidden, recorder = _directions(self.batch.runner.hidden()).reshape(len(self.live), self.rows, -1), self.batch.recorder
        if self._candidates is None:
            self._read_prompts()  # its rows are still alike
            winners, outcome = np.zeros(len(self.live), np.int64), Outcome(np.arange(len(self.live)), np.empty(0, np.int64))
        else:
            winners, outcome = self._choose(self._candidates, hidden)
        kept = outcome.parents
        rows = kept * self.rows + winners[kept]
        for request, state in zip(self.live, hidden[kept, winners[kept]], strict=True):
            self._contexts[request.index] = np.concatenate((self._contexts[request.index], state[None]))
        if recorder is not None:
            self._seen = recorder.seen = recorder.seen.of_rows(rows)
            recorder.reads_on()
        if not len(kept):
            return outcome
        self._candidates = self._best(step, scores, rows)
        return Outcome(rows.repeat(self.rows), self._candidates.tokens[:, : self.rows].reshape(-1), outcome.events)

    def _choose(self, candidates: Best, hidden: np.ndarray) -> tuple[np.ndarray, Outcome]:
        """Which candidate of each request, int64 [Q], of equals the likeliest; and what that makes of the requests."""
        self._weighed = self._weigh(candidates, hidden)
        winners = self._weighed.after.argmax(axis=1)
        chosen = np.arange(len(winners)), winners
        outcome = self.take(candidates.tokens[chosen], candidates.log_probs[chosen], candidates)
        if self.batch.recorder is not None:
            self.batch.recorder.decided(outcome)
        return winners, outcome

    def _read_prompts(self) -> None:
        states = _directions(self.batch.runner.hidden(prompt=True))
        for request, row in zip(self.live, states, strict=True):
            self._contexts[request.index] = row[row.shape[0] - len(request.prompt) + 1 :]  # padding stands on the left

    def _best(self, step: int, scores: np.ndarray | Best, rows: np.ndarray) -> Best:
        """The candidates that follow these rows, one of each live request: [Q, count]."""
        if isinstance(scores, Best):
            return Best(scores.tokens[rows], scores.log_probs[rows])
        return self.batch.best(scores[rows], self.standing(), self.count)

    def _weigh(self, candidates: Best, hidden: np.ndarray) -> Weighed:
        """hidden: directions of the candidates, [Q, K, D]."""
        alpha, likelihoods = self.options.penalty_alpha, candidates.log_probs[:, : self.rows]
        likeness = np.stack([(states @ self._contexts[request.index].T).max(axis=1)
                             for request, states in zip(self.live, hidden, strict=True)])
        before = (1 - alpha) * np.exp(likelihoods)
        return Weighed(before, likeness, np.where(np.isfinite(likelihoods), before - alpha * likeness, -np.inf))

    def tell(self, recorder: Recorder, tokens: np.ndarray, log_probs: np.ndarray) -> None:
        """Of all candidates, the best first."""
        assert self._candidates is not None and self._weighed is not None
        order = np.argsort(-self._weighed.after, axis=1, kind="stable")
        rows = np.arange(len(order))[:, None]
        tokens, log_probs = self._candidates.tokens[rows, order], self._candidates.log_probs[rows, order]
        sums, scores = self.standings(log_probs)
        recorder.considered(self.live, sums, np.zeros_like(tokens), tokens, log_probs, scores,
                            ended=np.broadcast_to(np.arange(order.shape[1]) == 0, order.shape), seen=self._seen,
                            measures={name: part[rows, order] for name, part in vars(self._weighed).items()})


def _directions(states: np.ndarray) -> np.ndarray:
    """States [..., D] at length 1."""
    return states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), np.finfo(np.float32).tiny)


STRATEGY = Contrastive
