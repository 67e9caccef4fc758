"""What a caller can ask of decoding, and what decoding asks of a backend. No torch, no arrays made here.

Semantics, cited by number from the code that implements them:

1. A *row* is one sequence being extended; a *request* is one source (or prompt). A request has one row
   (greedy, sampling) or `beams` rows. Nothing about a request depends on its neighbours.
2. Processors act on raw logits in one fixed order: bans (banned ids, minimum length), temperature,
   truncations (top-k, then top-p). Log-probabilities reported for a token are log-softmax of the
   logits *before* temperature and truncations, after bans. (Hugging Face's beam search masks banned ids after the
   log-softmax instead, so that its scores differ where a banned id is likely.)
3. Ties go to the lowest token id; between hypotheses, to the lower beam index. Top-k keeps all that tie with the k-th.
4. A hypothesis's length counts generated tokens, its end-of-sequence token included, the start token not.
5. Its score is the sum of its log-probabilities divided by the length penalty:
   `wu`:      ((5 + length) / 6) ** alpha     (Wu et al. 2016, equation 14)
   `average`: length ** alpha                 (Hugging Face, fairseq)
   alpha = 0 gives the plain sum.
6. Beam search keeps `beams` live hypotheses and the best `beams` finished ones. Each step considers the
   2 * beams best continuations of a request; one that ends in end-of-sequence is finished only if it is
   among the first `beams` of them.
7. A request is done when no live hypothesis is left, or when it has `beams` finished ones and, by `early_stopping`,
   `exact`:     no live one can reach the worst finished score at any length up to the limit;
   `heuristic`: the best live score, normalised at its present length, is not above the worst finished
                one (Hugging Face's early_stopping=False);
   `first`:     at once.
8. At `max_new_tokens` the first `beams` continuations are finished as they stand, with or without end-of-sequence.
9. Sampling draws from the processed distribution by inverting its cumulative sum, in id order, with one
   uniform number a step from a generator seeded with (seed, request index); a request given its own seed
   draws the same whatever its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from weft.errors import UsageError

EarlyStopping = Literal["exact", "heuristic", "first"]
LengthFormula = Literal["wu", "average"]


def _option(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class GenerationOptions:
    """How to decode. Command-line flags, request fields and docs derive from these fields.

    Sampling is on when `sample` is true; `beams` above 1 asks for beam search. Together they are refused.
    """

    beams: int = _option(1, "live hypotheses of beam search; 1 is greedy (1 to 64); a bundle has its own default")
    n_best: int = _option(1, "results a source, best first (1 to beams)")
    max_new_tokens: int | None = _option(
        None, "most tokens to generate; default: what the window holds, after a source at most 2 x source + 10"
    )
    min_new_tokens: int = _option(0, "fewest tokens before end-of-sequence may come (0 or more)")
    length_penalty: float = _option(1.0, "alpha of the length penalty; 0 is none, higher favours longer (-5 to 5)")
    length_formula: LengthFormula = _option("wu", "((5+n)/6)**alpha (wu, Wu et al. 2016) or n**alpha (average)",
                                            choices=("wu", "average"))
    early_stopping: EarlyStopping = _option("exact", "when a beam is done: exact, heuristic or first (semantics 7)",
                                            choices=("exact", "heuristic", "first"))
    sample: bool = _option(False, "draw tokens at random instead of taking the best")
    temperature: float = _option(1.0, "divide the logits by this before sampling (above 0 to 100)")
    top_k: int = _option(0, "sample among the k likeliest tokens only; 0 is off (Fan et al. 2018)")
    top_p: float = _option(1.0, "sample among the likeliest tokens whose probabilities reach p; 1 is off "
                                "(Holtzman et al. 2019, above 0 to 1)")
    seed: int = _option(0, "seed of the random draws (0 or more)")
    banned: tuple[int, ...] = _option((), "token ids that are never generated", cli=False)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise UsageError(problem)

    def _problems(self) -> list[str]:
        """Every contradiction or value out of range, in words."""
        checks = [
            (1 <= self.beams <= 64, f"beams is {self.beams}; it must be 1 to 64"),
            (1 <= self.n_best <= max(1, self.beams),
             f"n_best is {self.n_best}, more than the {self.beams} beams; ask for at least as many beams"),
            (self.max_new_tokens is None or self.max_new_tokens >= 0,
             f"max_new_tokens is {self.max_new_tokens}; it must be 0 or more"),
            (self.min_new_tokens >= 0, f"min_new_tokens is {self.min_new_tokens}; it must be 0 or more"),
            (self.max_new_tokens is None or self.min_new_tokens <= self.max_new_tokens,
             f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}"),
            (-5.0 <= self.length_penalty <= 5.0, f"length_penalty is {self.length_penalty}; it must be -5 to 5"),
            (self.length_formula in ("wu", "average"),
             f"length_formula is {self.length_formula!r}; it must be 'wu' or 'average'"),
            (self.early_stopping in ("exact", "heuristic", "first"),
             f"early_stopping is {self.early_stopping!r}; it must be 'exact', 'heuristic' or 'first'"),
            (0.0 < self.temperature <= 100.0,
             f"temperature is {self.temperature}; it must be above 0 to 100 (leave sampling off for greedy)"),
            (self.top_k >= 0, f"top_k is {self.top_k}; it must be 0 (off) or more"),
            (0.0 < self.top_p <= 1.0, f"top_p is {self.top_p}; it must be above 0 to 1 (1 is off)"),
            (self.seed >= 0, f"seed is {self.seed}; it must be 0 or more"),
            (not (self.sample and self.beams > 1),
             f"sample and beams={self.beams} contradict each other; drop one of the two"),
        ]
        if not self.sample:
            for name, neutral in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)):
                value = getattr(self, name)
                checks.append((value == neutral, f"{name}={value} does nothing without sampling; add sample=True "
                                                 f"(--sample) or drop {name}"))
        return [message for good, message in checks if not good]


# ---------------------------------------------------------------- what decoding asks of a backend


@dataclass(frozen=True)
class Best:
    """A step's answer in short: the `k` likeliest tokens of each row.

    tokens: int64 [rows, k], by falling probability, ties to the lowest id.
    log_probs: float32 [rows, k], log-softmax over the whole vocabulary (banned ids left out of it).
    """

    tokens: np.ndarray
    log_probs: np.ndarray


class Runner(Protocol):
    """A backend as decoding sees it: four verbs. State is the runner's own and opaque.

    One runner decodes one batch at a time; `start` forgets the batch before.
    """

    eos: int
    start_token: int
    vocabulary_size: int
    max_target: int
    """Most positions the decoder can hold, start token included."""

    def encode(self, source: Sequence[Sequence[int]]) -> Any:
        """Run the encoder over ragged token ids. Returns an opaque memory with one entry per source."""
        ...

    def start(self, memory: Any, copies: int, prefix: Sequence[Sequence[int]] | None = None) -> None:
        """Begin decoding `copies` rows per source: rows 0..copies-1 belong to source 0, and so on.

        A decoder-only model gets `memory=None` and ragged `prefix` (its prompts, without their last token).
        """
        ...

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        """Feed one token id per row, int64 [rows].

        Returns logits float32 [rows, vocabulary], or with `best=k` the k likeliest as a `Best`
        (then `banned` ids are excluded before the softmax).
        """
        ...

    def gather(self, rows: np.ndarray) -> None:
        """Make row i continue what row `rows[i]` held. int64 [new rows]; fewer rows than before drops some."""
        ...
