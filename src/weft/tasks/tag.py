"""Tagging: a label for every word, such as the names of people and places, in BIO notation (Ramshaw and Marcus 1995).

A word's label is that of its first token. Models that are trained here read words one by one, as their data has them;
imported ones read the text as it is, as the token-classification pipeline of transformers has them do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from weft import data
from weft.data import Ragged
from weft.metrics import Score, entity_f1
from weft.spec import config as c
from weft.tasks.task import IGNORED, Encoded, Example, Task, label_index
from weft.text import Tokenizer

if TYPE_CHECKING:
    from weft.spec.training import TrainingOptions

UNSPACED = (r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
            r"\U00020000-\U0003ffff")
"""Thai, Lao, Burmese, Khmer, Kana and Han, which are written without spaces: each character counts as a word, as in BERT."""
MARKS = (r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
         r"\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0963\u0966-\u0df3\u1ab0-\u1aff\u1dc0-\u1dff"
         r"\u200c\u200d\u20d0-\u20ff\ufe20-\ufe2f")
"""What is part of a word and no letter to \\w: combining marks, all of the scripts of India, and joiners."""
LETTER = rf"(?![{UNSPACED}])[\w{MARKS}]"
WORD = re.compile(rf"https?://\S+|[@#]\w+|(?:{LETTER})+(?:[-.’](?:{LETTER})+)*|['’](?:{LETTER})+|\S")
"""A word of running text: an address, a handle, letters and digits with joints inside, a clitic, or one sign."""


@dataclass(frozen=True)
class Entity:
    """text[start:end] is a `label`; probability: the mean of its words'."""

    label: str
    text: str
    start: int
    end: int
    probability: float


class Tag(Task):
    """Examples are (words, tags), each joined by spaces."""

    kind = "encoder-only"
    metric = "entity F1"
    recipe: ClassVar = {"dropout": 0.2, "learning_rate": 1e-3, "warmup": 100, "epochs": 20.0}
    least_updates = 500
    by_score = True

    def read(self, paths: Sequence[Path], options: TrainingOptions) -> list[Example]:
        return data.read_tagged(paths)

    def hold_out(self, examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        return data.hold_out_labelled(examples, lambda tags: set(tags.split()), seed=seed)

    def texts(self, examples: Sequence[Example]) -> Any:
        return (words for words, _ in examples)

    def head(self, examples: Sequence[Example]) -> c.Head:
        labels = sorted({tag for _, tags in examples for tag in tags.split()} - {"O"})
        return c.TagHead(("O", *labels))

    def encode(self, tokenizer: Tokenizer, examples: Sequence[Example], config: c.ModelConfig) -> Encoded:
        assert isinstance(config.head, c.TagHead)
        labels = config.head.labels
        sources, targets = [], []
        for words, tags in examples:
            ids, firsts = encode_words(tokenizer, words.split(" "), config.special)
            row = np.full(len(ids), IGNORED, np.int32)
            row[firsts] = [label_index(labels, tag) for tag in tags.split(" ")]
            sources.append(ids)
            targets.append(row)
        return Encoded(Ragged(sources), Ragged(targets))

    def predict(self, runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, inputs: Sequence[str]) -> list[str]:
        words = [text.split(" ") for text in inputs]
        tagged = tag_words(runner, tokenizer, config, words)
        return [" ".join([*tags, *["O"] * (len(row) - len(tags))]) for row, (tags, _) in zip(words, tagged, strict=True)]

    def missing(self) -> str:
        return "" if find_spec("seqeval") else "entity F1 needs the package seqeval: pip install 'weft[eval]'"

    def scores(self, predictions: Sequence[str], references: Sequence[str], confidence: bool = False) -> list[Score]:
        return [entity_f1(predictions, references, confidence=confidence)]


def encode_words(tokenizer: Tokenizer, words: Sequence[str], special: c.SpecialTokens) -> tuple[list[int], list[int]]:
    """Ids of a sentence, and the place of each word's first token. A word without tokens counts as an unknown one."""
    ids, firsts = list(special.prefix), []
    for pieces in tokenizer.encode_batch([word if tokenizer.leading_space else f" {word}" for word in words]):
        firsts.append(len(ids))
        ids += pieces or [special.unk if special.unk is not None else special.pad]
    return [*ids, *special.ending], firsts


def encode_text(tokenizer: Tokenizer, text: str, words: Sequence[tuple[int, int]], config: c.ModelConfig
                ) -> tuple[list[int], list[int | None]]:
    """Ids of a text as it is, within the window, and the place of the first token of each of its words up to there; None
    for a word that the tokenizer makes nothing of. words: (start, end), in order."""
    before, after = config.special.prefix, config.special.ending
    ids, places = tokenizer.encode_with_places(text)
    room = max(0, config.window.source - len(before) - len(after))
    firsts: list[int | None] = []
    at = 0
    for start, end in words:
        while at < len(ids) and places[at][1] <= start:
            at += 1
        if at >= room and at < len(ids):
            break
        firsts.append(len(before) + at if at < len(ids) and places[at][0] < end else None)
    return [*before, *ids[:room], *after], firsts


def tag_words(runner: Any, tokenizer: Tokenizer, config: c.ModelConfig, sentences: Sequence[Sequence[str]]
              ) -> list[tuple[list[str], list[float]]]:
    """Tags of the words of each sentence, with their probabilities. Words past the window get none."""
    limit = config.window.source
    encoded = [encode_words(tokenizer, words, config.special) for words in sentences]
    return tag_rows(runner, config, [(ids[:limit], [at for at in firsts if at < limit]) for ids, firsts in encoded])


def tag_rows(runner: Any, config: c.ModelConfig, rows: Sequence[tuple[Sequence[int], Sequence[int | None]]]
             ) -> list[tuple[list[str], list[float]]]:
    """Tags of the words of each row of ids, with their probabilities; rows: ids, and the places of words' first tokens.
    A word without a token is outside (O); one that stands on the token of the word before goes on with it (B- to I-)."""
    assert isinstance(config.head, c.TagHead)
    labels = config.head.labels
    read = [(ids, [at for at in firsts if at is not None]) for ids, firsts in rows]
    scored = iter(runner.score_all([ids for ids, firsts in read if firsts]))
    found = []
    for (_, given), (_, firsts) in zip(rows, read, strict=True):
        best = iter(zip(*_best(next(scored)[firsts].astype(np.float64), labels), strict=True)) if firsts else iter(())
        answers = [("O", 1.0) if at is None else next(best) for at in given]
        same = [at is not None and at == before for at, before in zip(given, [None, *given], strict=False)]
        found.append(([f"I-{tag[2:]}" if joined and tag.startswith("B-") else tag
                       for (tag, _), joined in zip(answers, same, strict=True)], [share for _, share in answers]))
    return found


def _best(logits: np.ndarray, labels: Sequence[str]) -> tuple[list[str], list[float]]:
    """logits [words, labels] -> the likeliest label of each word, and its probability. A single label is there or not (O)."""
    if len(labels) == 1:
        shares = 1.0 / (1.0 + np.exp(-logits[:, 0]))
        return ([labels[0] if share > 0.5 else "O" for share in shares], [float(max(share, 1.0 - share)) for share in shares])
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return [labels[index] for index in shares.argmax(1)], shares.max(1).tolist()


def entities(text: str, words: Sequence[tuple[int, int]], tags: Sequence[str], probabilities: Sequence[float]) -> list[Entity]:
    """Words with one name, B- first and I- after it, as spans of `text`. words: (start, end)."""
    groups: list[tuple[str, list[int]]] = []
    for place, tag in enumerate(tags):
        prefix, _, name = tag.partition("-") if tag[:2] in ("B-", "I-") else ("", "", tag)
        if tag == "O":
            continue
        joins = bool(groups) and groups[-1][0] == name and groups[-1][1][-1] == place - 1 and prefix != "B"
        if joins:
            groups[-1][1].append(place)
        else:
            groups.append((name, [place]))
    return [Entity(name, text[words[at[0]][0] : words[at[-1]][1]], words[at[0]][0], words[at[-1]][1],
                   float(np.mean([probabilities[i] for i in at]))) for name, at in groups]


TASK = Tag()
