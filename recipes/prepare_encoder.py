"""Corpora of the small English encoder: running text to learn from, and named entities with one set of labels.

    python recipes/prepare_encoder.py DATA corpus

DATA is a folder with sentiment/, ner/, lm/ and translation/ as recipes name them. Writes corpus/text.jsonl (a sentence or
passage a line; nothing of any test or validation set) and corpus/ner.{train,val,test}.bio. Of WikiGold and the Broad
Twitter Corpus every tenth sentence is for testing and the one after it for validation; WNUT17's training part, its six
labels mapped to four, is for training only. corpus/sentiment.{train,val,test}.tsv are rt_polarity's parts with words for
labels. corpus/reviews.tsv holds passages of long film reviews, each with the label
of its whole review: noisy, and many.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from weft.data import read_pairs, read_tagged, read_texts

LABELS = {"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG", "product": "MISC",
          "creative-work": "MISC"}
NAMES = {"0": "negative", "1": "positive"}
Example = tuple[str, str]


def mapped(tags: str) -> str:
    """WNUT17's labels as those of the others."""
    def one(tag: str) -> str:
        prefix, _, name = tag.partition("-")
        return f"{prefix}-{LABELS.get(name, name)}" if name else tag
    return " ".join(map(one, tags.split()))


def entities(data: Path) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for path in (data / "ner" / "wikigold.all.bio", *sorted((data / "ner").glob("btc.*.bio"))):
        for number, example in enumerate(read_tagged([path])):
            found[{0: "test", 1: "val"}.get(number % 10, "train")].append(example)
    found["train"] += [(words, mapped(tags)) for words, tags in read_tagged([data / "ner" / "wnut17.train.bio"])]
    return found


def passages(text: str, size: int = 600) -> Iterator[str]:
    """Paragraphs, joined until they have some size."""
    part = ""
    for paragraph in text.split("\n\n"):
        part = f"{part} {' '.join(paragraph.split())}".strip()
        if len(part) >= size:
            yield part[: 4 * size]
            part = ""
    if part:
        yield part


def reviews(data: Path) -> Iterator[tuple[int, str]]:
    """Label and text of the long reviews."""
    with gzip.open(data / "sentiment" / "movie_reviews_v2.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            yield review["label"], review["text"]


def texts(data: Path, tagged: Iterable[Example]) -> Iterator[str]:
    yield from (text for text, _ in read_pairs(data / "sentiment" / "rt_polarity.train.tsv", 1, 0))
    yield from (words for words, _ in tagged)
    yield from dict.fromkeys(text for text, _ in read_pairs(data / "translation" / "tatoeba.en-fr.train.tsv.gz"))
    for _, text in reviews(data):
        yield from passages(text.replace("\n", "\n\n"))
    for name in ("emerson_essays", "state_of_the_union", "inaugural_addresses"):
        for text in read_texts([data / "lm" / f"{name}.jsonl"]):
            yield from passages(text)


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    tagged = entities(data)
    for part, examples in tagged.items():
        rows = ("\n".join(map("\t".join, zip(words.split(), tags.split(), strict=True))) for words, tags in examples)
        (out / f"ner.{part}.bio").write_text("\n\n".join(rows) + "\n", "utf-8")
        print(f"ner.{part}.bio: {len(examples):,} sentences")
    for part in ("train", "val", "test"):
        rows = read_pairs(data / "sentiment" / f"rt_polarity.{part}.tsv", 1, 0)
        (out / f"sentiment.{part}.tsv").write_text("".join(f"{NAMES[label]}\t{text}\n" for text, label in rows), "utf-8")
    labelled = [f"{NAMES[str(label)]}\t{' '.join(part.split())}" for label, text in reviews(data)
                for part in passages(text.replace("\n", "\n\n"), 250)]
    (out / "reviews.tsv").write_text("\n".join(labelled) + "\n", "utf-8")
    print(f"reviews.tsv: {len(labelled):,} passages")
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts(data, tagged["train"])]
    (out / "text.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    print(f"text.jsonl: {len(lines):,} texts, {sum(map(len, lines)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
