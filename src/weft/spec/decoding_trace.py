"""What decoding did, step by step, for a later picture: a schema and its file. No torch.

Legend: S stages of the chain, R rows of a request, C candidates of a row, N continuations that a search looked at,
H heads, T positions of a row so far.

The file is a safetensors file: every array under its place in the tree (`requests.0.steps.3.scores`), everything else as
JSON in its metadata, with the version of this schema and a SHA-256 of it all. Equal traces make equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from weft.errors import DataError
from weft.spec.events import Hypothesis

VERSION = 2
KEY = "weft.decoding_trace"
KEPT, FINISHED, PRUNED = "kept", "finished", "pruned"


@dataclass(frozen=True)
class Continuations:
    """What a search chose among, best first, all [N].

    parents: row of this step that each continues. sums: of the log-probabilities, this token's included. scores: what the
    search ranks finished hypotheses by, were it to finish here (semantics 5). fates: kept, finished or pruned. places: row
    of the next step that each becomes, -1 where it is not kept. measures: what else the choice went by: of contrastive
    search `before`, (1 - alpha) p, the degeneration penalty `likeness`, a cosine, and `after`, before - alpha * likeness.
    """

    parents: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    sums: np.ndarray
    scores: np.ndarray
    places: np.ndarray
    fates: tuple[str, ...]
    measures: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.fates)


@dataclass(frozen=True)
class Guesses:
    """Tokens that were read ahead, along with the one before them, so that their scores were there if they came true.

    step: number, from 0, of the step whose choice the first of them guesses; the next guesses at the step after it. tokens:
    int64 [G]. probabilities: float64 [G], with which a draft model drew each; NaN where it was not drawn. accepted: how many,
    from the first on, became the choice of their steps; the others were taken back.
    """

    step: int
    tokens: np.ndarray
    probabilities: np.ndarray
    accepted: int


@dataclass(frozen=True)
class Step:
    """One step of one request.

    sums: float32 [R], of the log-probabilities of each row's hypothesis before this step; -inf for a row that holds none.
    stages: "model", then "bans" where there are any, then every processor by name.
    candidates: int64 [R, C], the likeliest tokens before any processor, then those that the processors put among the
    likeliest or the search chose; -1 fills a row. scores: float32 [S, R, C], of the candidates after each stage (logits, or
    log-probabilities where beam_scores is raw). log_sums: float64 [S, R], log of the sum of exp(score) over the whole
    vocabulary. removed: int64 [S, R], tokens of the vocabulary that a stage set to -inf; removed_mass: float64 [S, R], the
    probability that they had before it. drawn: float64 [R], the random number in [0, 1), NaN where none was drawn.
    points: inspection points (weft.spec.trace) of this step, [R, H, T or source] for attention, [R, D] for hidden states.
    """

    sums: np.ndarray
    stages: tuple[str, ...]
    candidates: np.ndarray
    scores: np.ndarray
    log_sums: np.ndarray
    removed: np.ndarray
    removed_mass: np.ndarray
    drawn: np.ndarray
    continuations: Continuations
    points: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def log_probs(self) -> np.ndarray:
        """float64 [S, R, C]: log-probabilities of the candidates after each stage; the first are the model's own. Of a row in
        which a stage leaves nothing all are -inf."""
        with np.errstate(invalid="ignore"):
            return np.where(np.isneginf(self.scores), -np.inf, self.scores - self.log_sums[:, :, None])

    def removed_at(self, row: int, candidate: int) -> str | None:
        """The stage that set a candidate to -inf, if one did."""
        dead = np.flatnonzero(np.isneginf(self.scores[:, row, candidate]))
        return self.stages[dead[0]] if len(dead) else None


@dataclass(frozen=True)
class RequestTrace:
    """One input's way through decoding.

    source: ids that the encoder read; prompt: those that the decoder began with, its start token or a prompt.
    reading: inspection points of the source, or of the prompt without its last token, [T, D] and [H, T, T].
    results: what came out, best first, and texts: as text. guesses: rounds of guessing ahead, in order; steps are those of
    every token, however many were read together.
    """

    text: str
    source: tuple[int, ...]
    prompt: tuple[int, ...]
    limit: int
    seed: int
    stream: int
    reading: dict[str, np.ndarray]
    steps: tuple[Step, ...]
    results: tuple[Hypothesis, ...]
    texts: tuple[str, ...] = ()
    guesses: tuple[Guesses, ...] = ()

    def guess(self, step: int) -> tuple[Guesses, int] | None:
        """What was guessed for a step, from 0: the round, and the place of the guess in it; None if nothing was."""
        return next(((one, step - one.step) for one in self.guesses
                     if 0 <= step - one.step < len(one.tokens) and step - one.step <= one.accepted), None)

    def tokens(self, step: int, row: int) -> tuple[int, ...]:
        """What the hypothesis in a row of a step had generated before it, by its ancestry."""
        found: list[int] = []
        for before in reversed(self.steps[:step]):
            (came,) = np.flatnonzero(before.continuations.places == row)
            found.append(int(before.continuations.tokens[came]))
            row = int(before.continuations.parents[came])
        return tuple(reversed(found))


@dataclass(frozen=True)
class DecodingTrace:
    """A trace of all requests that were decoded together.

    options: those that were not at their defaults. pieces: text of every token id that occurs. draft: name of the model that
    guessed ahead.
    """

    model: str
    kind: str
    strategy: str
    options: dict[str, Any]
    pieces: dict[int, str]
    requests: tuple[RequestTrace, ...]
    draft: str = ""

    def save(self, path: str | Path) -> None:
        """Write one file; one that is there is replaced. Raises OSError."""
        from safetensors.numpy import save

        arrays: dict[str, np.ndarray] = {}
        content = json.dumps(_split(self, "", arrays), ensure_ascii=False)
        header = f'{{"version": {VERSION}, "sha256": "{_digest(content, arrays)}", "trace": {content}}}'
        temporary = Path(f"{path}.tmp")
        temporary.write_bytes(save(arrays, {KEY: header}))  # of several keys the library would change the order
        os.replace(temporary, path)

    @staticmethod
    def load(path: str | Path) -> DecodingTrace:
        """Read what `save` wrote. Raises DataError for another version, another kind of file, or damage."""
        header, arrays = _read(Path(path))
        try:
            found = json.loads(header)
            version, content = found["version"], json.dumps(found["trace"], ensure_ascii=False)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged: its header cannot be read ({error!r:.80}); copy or record it again") from error
        if version != VERSION:
            raise DataError(f"{path} is a trace of version {version!r:.20}; this Weft reads version {VERSION}. Open it with "
                            f"the Weft that wrote it, or record it again")
        if found.get("sha256") != _digest(content, arrays):
            raise DataError(f"{path} is damaged: its content is not what was saved; copy or record it again")
        try:
            return _join(DecodingTrace, found["trace"], arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is no sound trace of version {VERSION} ({error!r:.80}); record it again") from error


def _read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Header and arrays. Raises DataError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a decoding trace: {error}. Give a file that DecodingTrace.save or "
                        f"weft explain --save wrote") from error
    if KEY not in metadata:
        raise DataError(f"{path} is a safetensors file, but no decoding trace; give one that DecodingTrace.save or "
                        f"weft explain --save wrote")
    return metadata[KEY], arrays


def _digest(content: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _split(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """A tree as JSON, with its arrays put into `arrays` under their places."""
    inner = f"{place}." if place else ""
    if isinstance(value, np.ndarray):
        arrays[place] = np.ascontiguousarray(value)
        return place
    if is_dataclass(value):
        return {part.name: _split(getattr(value, part.name), inner + part.name, arrays) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _split(item, f"{inner}{key}", arrays) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_split(item, f"{inner}{index}", arrays) for index, item in enumerate(value)]
    return value


def _join(hint: Any, value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """What `_split` was given, by its type. Raises KeyError, TypeError or ValueError for what does not fit it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is np.ndarray:
        return arrays[value]
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: _join(hints[name], item, arrays) for name, item in value.items()})  # type: ignore[operator]
    if origin is dict:
        return {inner[0](key): _join(inner[1], item, arrays) for key, item in value.items()}
    if origin is tuple:
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_join(kind, item, arrays) for kind, item in zip(kinds, value, strict=True))
    if origin is types.UnionType or hint is Any:
        return _tuples(value)
    if not isinstance(value, hint) and not (hint is float and isinstance(value, int)):
        raise TypeError(f"{value!r:.40} is no {hint.__name__}")
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
