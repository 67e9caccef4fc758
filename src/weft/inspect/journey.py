"""The journey of one input through a generating model, as text for a terminal, from a trace of its decoding.

Lines are rich Text: coloured on a terminal, plain elsewhere. It knows no model, only the trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from weft.spec.decoding_trace import FINISHED, KEPT, DecodingTrace, RequestTrace, Step

_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_MOST_TOKENS = 40
_MOST_HYPOTHESES = 8
_FATES = {KEPT: "green", FINISHED: "bold green", "pruned": "dim"}


def journey(trace: DecodingTrace, request: int = 0, steps: Sequence[int] | None = None, candidates: int = 5) -> Iterator[Text]:
    """steps: numbers, from 1, of those to tell; None for all. candidates: how many of a row to show."""
    one = trace.requests[request]
    teller = _Teller(trace, one, candidates)
    yield from teller.opening()
    yield from teller.reading()
    for number, step in enumerate(one.steps, 1):
        if steps is None or number in steps:
            yield from teller.step(number, step)
    yield from teller.results()


class _Teller:
    def __init__(self, trace: DecodingTrace, request: RequestTrace, candidates: int) -> None:
        self.trace, self.request, self.candidates = trace, request, candidates
        self.encoded = bool(request.source)
        self.read_ids = request.source or request.prompt

    def word(self, token: int) -> str:
        piece = self.trace.pieces.get(int(token), "") or f"#{token}"
        return piece if piece.isprintable() else repr(piece)[1:-1]

    def words(self, tokens: Sequence[int]) -> str:
        return " ".join(map(self.word, tokens)) or "(nothing)"

    # ------------------------------------------------------------ before the loop

    def opening(self) -> Iterator[Text]:
        yield Text(f"{self.trace.model}: {self.trace.kind}, {self.trace.strategy} search"
                   if self.trace.strategy != "sampling" else f"{self.trace.model}: {self.trace.kind}, sampling", "bold")
        given = ", ".join(f"{name} {value}" for name, value in (
            *self.trace.options.items(), *([("draft", self.trace.draft)] if self.trace.draft else [])))
        yield Text(f"options that are not at their defaults: {given or 'none'}; at most {self.request.limit} new tokens")
        if self.request.text:
            yield Text(f"input: {self.request.text!r}")

    def reading(self) -> Iterator[Text]:
        """Tokens with what the first layer gets of each, and a line a layer."""
        stack = "encoder" if self.encoded else "decoder"
        embedded = self._embedded(stack)
        yield from _heading(f"tokens ({len(self.read_ids)})")
        width = max((len(self.word(token)) for token in self.read_ids), default=5)
        note = "embedding + position: length, first numbers" if embedded is not None else ""
        yield Text(f"{'place':>5}  {'id':>6}  {'token':{width}}  {note}".rstrip(), "dim")
        for place, token in enumerate(self.read_ids[:_MOST_TOKENS]):
            line = f"{place:5}  {token:6}  {self.word(token):{width}}"
            if embedded is not None:
                first = " ".join(f"{value:6.2f}" for value in embedded[place][:4])
                line += f"  {np.linalg.norm(embedded[place]):8.2f}  {first} …"
            yield Text(line)
        if len(self.read_ids) > _MOST_TOKENS:
            yield Text(f"      and {len(self.read_ids) - _MOST_TOKENS} more", "dim")
        yield from self._layers(stack)

    def _embedded(self, stack: str) -> np.ndarray | None:
        """[T, D] of all that was read; a prompt's last token was fed in the first step."""
        found = self.request.reading.get(f"{stack}.embedding")
        if self.encoded:
            return found
        last = self.request.steps[0].points.get("decoder.embedding") if self.request.steps else None
        rows = [part for part in (found, None if last is None else last[:1]) if part is not None]
        whole = np.concatenate(rows) if rows else None
        return whole if whole is not None and len(whole) == len(self.read_ids) else None

    def _layers(self, stack: str) -> Iterator[Text]:
        reading = self.request.reading
        before = reading.get(f"{stack}.embedding")
        layers = sorted(int(found[1]) for name in reading if (found := re.fullmatch(rf"{stack}\.blocks\.(\d+)\.hidden", name)))
        if not layers:
            return
        yield from _heading(f"{stack} layers" if self.encoded else "decoder layers, over the prompt but its last token")
        yield Text("layer  length of a state  likeness to the layer before  tokens that a head looks at", "dim")
        for layer in layers:
            hidden = reading[f"{stack}.blocks.{layer}.hidden"]
            weights = reading.get(f"{stack}.blocks.{layer}.self_attention.weights")
            likeness = f"{_likeness(before, hidden):28.2f}" if before is not None and before.shape == hidden.shape else " " * 28
            spread = "" if weights is None else " ".join(f"{_spread(head):5.1f}" for head in weights)
            yield Text(f"{layer:5}  {np.linalg.norm(hidden, axis=-1).mean():17.2f}  {likeness}  {spread}")
            before = hidden

    # ------------------------------------------------------------ the loop

    def step(self, number: int, step: Step) -> Iterator[Text]:
        yield from _heading(f"step {number}")
        live = np.flatnonzero(step.sums > -np.inf)
        for row in live:
            before = self.words(self.request.tokens(number - 1, int(row)))
            beam = f"hypothesis {row + 1}, sum {step.sums[row]:.3f}: " if len(step.sums) > 1 else "so far: "
            yield Text(f"{beam}{before}", "bold")
            yield from self._candidates(step, int(row))
            yield from self._removed(step, int(row))
            if not np.isnan(step.drawn[row]):
                yield Text(f"    drew {step.drawn[row]:.4f}: {self._drawn(number - 1, step)}")
            yield from self._looked_at(step, int(row))
        yield from self._decision(step)
        yield from self._guessed(number - 1)

    def _candidates(self, step: Step, row: int) -> Iterator[Text]:
        """A bar of the model's probability for each, what the processors left of it, and which of them removed it."""
        before, after = np.exp(step.log_probs[0, row]), np.exp(step.log_probs[-1, row])
        taken = {int(token) for token, parent, fate in zip(step.continuations.tokens, step.continuations.parents,
                                                           step.continuations.fates, strict=True)
                 if parent == row and fate in (KEPT, FINISHED)}
        shown = [place for place, token in enumerate(step.candidates[row])
                 if token >= 0 and (place < self.candidates or int(token) in taken)]
        for place in shown:
            token = int(step.candidates[row, place])
            line = Text(f"  {'>' if token in taken else ' '} ", "green" if token in taken else "")
            line.append(f"{_bar(before[place])} {before[place]:7.2%}  {self.word(token)}")
            gone = step.removed_at(row, place)
            if gone:
                line.append(f"  removed by {gone}", "red")
            elif len(step.stages) > 1 and abs(after[place] - before[place]) >= 5e-5:
                line.append(f"  -> {after[place]:.2%}", "cyan")
            yield line

    def _removed(self, step: Step, row: int) -> Iterator[Text]:
        told = [f"{name} {step.removed[stage, row]:,} tokens ({step.removed_mass[stage, row]:.2%})"
                for stage, name in enumerate(step.stages) if step.removed[stage, row]]
        if told:
            yield Text(f"    removed (probability that they had): {', '.join(told)}", "dim")

    def _looked_at(self, step: Step, row: int) -> Iterator[Text]:
        """Mean attention of all layers and heads recorded, over the source or over the prompt and what follows it."""
        kinds = ("cross_attention.weights", "decoder.attention.weights") if self.encoded else ("self_attention.weights",)
        found = [array[row].mean(axis=0) for name, array in step.points.items() if name.endswith(kinds)]
        if not found:
            return
        weights = np.mean(found, axis=0)
        number = next(place for place, one in enumerate(self.request.steps) if one is step)
        seen = self.read_ids if self.encoded else (*self.request.prompt, *self.request.tokens(number, row))
        best = np.argsort(-weights, kind="stable")[:4]
        yield Text("    looked at " + ", ".join(f"{self.word(seen[place])} {weights[place]:.0%}" for place in best), "dim")

    def _drawn(self, number: int, step: Step) -> str:
        """What the random number of a step, from 0, decided."""
        found = self.request.guess(number)
        q = found[0].probabilities[found[1]] if found else np.nan
        if found is None or np.isnan(q):
            return "the first token, by id, with which what is left adds up to more"
        place = step.candidates[0].tolist().index(int(found[0].tokens[found[1]]))
        share = min(1.0, float(np.exp(step.log_probs[-1, 0, place])) / q)
        return f"below {share:.4f}, what the model gives of the draft's {q:.2%}, the guess is kept; above that, the rest of " \
               f"the number draws from what the model gives more than the draft"

    def _guessed(self, number: int) -> Iterator[Text]:
        """What became of the guess at a step, from 0, and what was guessed with it."""
        found = self.request.guess(number)
        if found is None:
            return
        one, place = found
        if place == 0:
            guessed = self.words(one.tokens.tolist())
            yield Text(f"  guessed ahead and read together: {guessed}; {one.accepted} of {len(one.tokens)} came true", "cyan")
        became = "came true" if place < one.accepted else "did not, and what was read from it on is taken back"
        yield Text(f"    guess {place + 1}, {self.word(one.tokens[place])}, {became}", "dim")

    def _decision(self, step: Step) -> Iterator[Text]:
        """The hypotheses and what became of them; one that goes on alone needs no list."""
        told = step.continuations
        if told.measures:
            yield from self._weighed(step)
            return
        if len(step.sums) == 1 and len(told) == 1:
            fate = "" if told.fates[0] == KEPT else f", and it is over (score {told.scores[0]:.3f})"
            yield Text(f"  chosen: {self.word(told.tokens[0])}{fate}", "green")
            return
        yield Text("  continuations: what became of them, sum of log-probabilities, the hypothesis that each continues", "dim")
        for place in range(min(len(told), max(_MOST_HYPOTHESES, 2 * len(step.sums)))):
            fate = told.fates[place]
            became = f"kept as {told.places[place] + 1}" if fate == KEPT else f"{fate}, score {told.scores[place]:.3f}" \
                if fate == FINISHED else fate
            yield Text(f"    {became:24} {told.sums[place]:9.3f}  {told.parents[place] + 1} + {self.word(told.tokens[place])}",
                       _FATES[fate])

    def _weighed(self, step: Step) -> Iterator[Text]:
        """Candidates of contrastive search, the chosen one first."""
        told, alpha = step.continuations, self.trace.options.get("penalty_alpha", np.nan)
        yield Text(f"  candidates: {1 - alpha:g} x probability, less {alpha:g} x likeness to what is there", "dim")
        for place, token in enumerate(told.tokens):
            before, likeness, after = (told.measures[name][place] for name in ("before", "likeness", "after"))
            fate = "" if told.fates[place] != FINISHED else f", and it is over (score {told.scores[place]:.3f})"
            yield Text(f"  {'>' if place == 0 else ' '} {np.exp(told.log_probs[place]):7.2%}  {before:.4f} - {alpha:g} x "
                       f"{likeness:7.4f} = {after:7.4f}  {self.word(token)}{fate}", _FATES[told.fates[place]])

    def results(self) -> Iterator[Text]:
        yield from _heading("result" if len(self.request.results) < 2 else "results, best first")
        reasons = {"end": "ended by itself", "stop": "ended by a stop text", "limit": "cut at the limit of new tokens",
                   "unmet": "without all its forced words"}
        for result, text in zip(self.request.results, self.request.texts, strict=True):
            yield Text(f"{text!r}  score {result.score:.4f}, {len(result.tokens)} tokens, {reasons[result.reason]}")
        rounds = self.request.guesses
        if rounds:
            yield Text(f"guessed ahead: {sum(len(one.tokens) for one in rounds)} tokens in {len(rounds)} rounds, of which "
                       f"{sum(one.accepted for one in rounds)} came true", "dim")


def _heading(text: str) -> Iterator[Text]:
    yield Text("")
    yield Text(text, "bold cyan")


def _bar(share: float) -> str:
    """A bar of _BAR characters for a share of 1."""
    eighths = 0 if np.isnan(share) else round(float(share) * _BAR * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(_BAR)


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Mean cosine of rows [T, D]."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(((one * other).sum(-1) / np.maximum(lengths, 1e-12)).mean())


def _spread(weights: np.ndarray) -> float:
    """exp of the mean entropy of attention [T, S]: 1 where each looks at one place, S where it looks at all alike."""
    return float(np.exp(-(weights * np.log(np.maximum(weights, 1e-12))).sum(-1).mean()))
