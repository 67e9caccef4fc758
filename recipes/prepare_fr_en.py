"""The corpus of the shipped fr-en and en-fr translators, from three open collections.

    python recipes/prepare_fr_en.py DATA OUT

DATA holds translation/tatoeba.en-fr.{train,dev,test}.tsv.gz, ml_cheatsheets.en-fr.train.tsv.gz,
python_docs.en-fr.train.tsv.gz and flores-dev.en-fr.tsv (English TAB French). OUT gets train.fr-en.tsv and
train.en-fr.tsv (source TAB target), dev.fr-en.tsv and dev.en-fr.tsv, and report.json with what each rule kept.

Rules: technical text loses its emphasis marks and is dropped if any other markup is left; what is too long, uneven,
untranslated or mostly not letters is dropped; so is every pair with a sentence of the test sets. Some pairs are
repeated without their full stop, since users leave it out; some sources get curly apostrophes or ordinary spaces
before ? and !, since users type both. Machine-learning terms, which the collections hardly have, stand in plain
sentences made from a list of terms and a list of frames below. The sentence that the README shows is in no pair.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Pair = tuple[str, str]  # English, French

EXAMPLE = ("i love machine learning", "j aime l apprentissage automatique")
CHEATSHEET_COPIES = 3
WITHOUT_STOP, CURLY, PLAIN_SPACE = 0.12, 0.05, 0.75

# ---------------------------------------------------------------- cleaning

_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(?=\S)([^*]+?)(?<=\S)\*{1,2}(?![\w*])")
_MARKUP = re.compile(r"[`|\\<>{}=_*~^#\[\]@]|::|:\w+:|\w\(\)|https?:|--|^\.\. |\.\w+\.\w|[∀-⋿ηθλ←-⇿ℝ∈]|&\w+;")
_SPACES = re.compile("[\u00a0\u2009\u202f ]+")
_WORD = re.compile(r"\w+")


def clean(text: str) -> str:
    """White space and emphasis put in order; other markup is left for `has_markup` to see."""
    return _EMPHASIS.sub(r"\1", text.replace("\u200b", "").replace("\u00ad", "")).strip()


def has_markup(text: str) -> bool:
    return bool(_MARKUP.search(text))


def key(text: str) -> str:
    """What two spellings of a sentence share: its words, lower-cased."""
    return " ".join(_WORD.findall(text.lower()))


def holds_example(pair: Pair) -> bool:
    return any(example in key(side) for example in EXAMPLE for side in pair)


def letters_share(text: str) -> float:
    return sum(c.isalpha() or c.isspace() for c in text) / max(len(text), 1)


# Each rule drops the pairs for which it is true; the first that is counts in the report.
RULES: dict[str, Callable[[Pair], bool]] = {
    "empty": lambda pair: not all(pair),
    "markup or formula": lambda pair: any(map(has_markup, pair)),
    "untranslated": lambda pair: key(pair[0]) == key(pair[1]),
    "longer than 40 words": lambda pair: max(len(side.split()) for side in pair) > 40,
    "uneven lengths": lambda pair: not 0.45 < (len(pair[0]) + 12) / (len(pair[1]) + 12) < 2.0,
    "mostly not letters": lambda pair: min(map(letters_share, pair)) < 0.75,
    "the README's sentence": holds_example,
}


def read(path: Path) -> list[Pair]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="\n") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [(row[0], row[1]) for row in rows if len(row) > 1]


_END = re.compile(r"(?<=[.!?]) +(?=[A-ZÀÂÇÉÈÊÎÔ«])")


def sentences(pair: Pair) -> Iterator[Pair]:
    """A paragraph as its sentences where both languages have as many, else whole."""
    english, french = (_END.split(side) for side in pair)
    yield from zip(english, french, strict=True) if len(english) == len(french) else [pair]


def filtered(pairs: Iterable[Pair], seen: set[Pair], tested: set[str], counts: Counter[str]) -> Iterator[Pair]:
    for raw in pairs:
        pair = (clean(raw[0]), clean(raw[1]))
        reason = next((name for name, drops in RULES.items() if drops(pair)), None)
        if reason is None and any(key(side) in tested for side in pair):
            reason = "in a test set"
        if reason is None and pair in seen:
            reason = "seen before"
        counts[reason or "kept"] += 1
        if reason is None:
            seen.add(pair)
            yield pair


# ---------------------------------------------------------------- terms in plain sentences

TERMS = [tuple(line.split(" | ")) for line in """
machine learning | l'apprentissage automatique
deep learning | l'apprentissage profond
supervised learning | l'apprentissage supervisé
unsupervised learning | l'apprentissage non supervisé
reinforcement learning | l'apprentissage par renforcement
transfer learning | l'apprentissage par transfert
artificial intelligence | l'intelligence artificielle
linear algebra | l'algèbre linéaire
linear regression | la régression linéaire
logistic regression | la régression logistique
gradient descent | la descente de gradient
computer vision | la vision par ordinateur
computer science | l'informatique
data science | la science des données
data analysis | l'analyse de données
machine translation | la traduction automatique
natural language processing | le traitement automatique du langage
speech recognition | la reconnaissance vocale
neural networks | les réseaux de neurones
decision trees | les arbres de décision
random forests | les forêts aléatoires
language models | les modèles de langue
word embeddings | les plongements de mots
programming | la programmation
probability theory | la théorie des probabilités
statistics | les statistiques
mathematics | les mathématiques
robotics | la robotique
algorithms | les algorithmes
databases | les bases de données
cryptography | la cryptographie
linguistics | la linguistique
physics | la physique
biology | la biologie
chemistry | la chimie
philosophy | la philosophie
economics | l'économie
""".strip().splitlines()]

FRAMES = [tuple(line.split(" | ")) for line in """
I love {}. | J'aime {}.
I love {}. | J'adore {}.
I really love {}. | J'aime vraiment {}.
We love {}. | Nous aimons {}.
They love {}. | Ils aiment {}.
Tom loves {}. | Tom aime {}.
Mary loves {}. | Marie aime {}.
I don't like {}. | Je n'aime pas {}.
Do you like {}? | Aimez-vous {} ?
Do you like {}? | Tu aimes {} ?
I study {}. | J'étudie {}.
I'm studying {}. | J'étudie {}.
She teaches {}. | Elle enseigne {}.
He teaches {} at the university. | Il enseigne {} à l'université.
I'm learning {}. | J'apprends {}.
I want to learn {}. | Je veux apprendre {}.
She wants to understand {}. | Elle veut comprendre {}.
I don't understand {}. | Je ne comprends pas {}.
Can you explain {} to me? | Pouvez-vous m'expliquer {} ?
I'm interested in {}. | Je m'intéresse à {}.
Are you interested in {}? | Vous intéressez-vous à {} ?
We talked about {}. | Nous avons parlé de {}.
This book is about {}. | Ce livre parle de {}.
I read a book about {}. | J'ai lu un livre sur {}.
He knows a lot about {}. | Il en sait beaucoup sur {}.
My brother works on {}. | Mon frère travaille sur {}.
We use {}. | Nous utilisons {}.
""".strip().splitlines()]

_CONTRACTIONS = ((" à le ", " au "), (" à les ", " aux "), (" de le ", " du "), (" de les ", " des "))


def term_sentences() -> Iterator[Pair]:
    for english_term, french_term in TERMS:
        yield english_term[0].upper() + english_term[1:], french_term[0].upper() + french_term[1:]
        for english, french in FRAMES:
            text = french.format(french_term)
            for apart, together in _CONTRACTIONS:
                text = text.replace(apart, together)
            yield english.format(english_term), text


# ---------------------------------------------------------------- what users type


def without_stop(pair: Pair) -> Pair:
    return pair[0].removesuffix("."), pair[1].removesuffix(".")


def as_typed(source: str, chance: random.Random) -> str:
    """A source as a user may type it: mostly plain spaces, sometimes a curly apostrophe."""
    if chance.random() < PLAIN_SPACE:
        source = _SPACES.sub(" ", source)
        if chance.random() < 0.1:
            source = re.sub(r" (?=[?!]$)", "", source)
    return source.replace("'", "’") if chance.random() < CURLY else source


def augment(pairs: list[Pair], chance: random.Random) -> list[Pair]:
    """The pairs, and copies of some without their full stops."""
    ends = [pair for pair in pairs if all(side.endswith(".") and not side.endswith("..") for side in pair)]
    return pairs + [without_stop(pair) for pair in ends if chance.random() < WITHOUT_STOP]


# ---------------------------------------------------------------- the whole


def corpus(data: Path) -> tuple[list[Pair], dict[str, dict[str, int]]]:
    """Training pairs in a fixed order, and what each rule did to each collection."""
    folder = data / "translation"
    tests = [pair for name in ("tatoeba.en-fr.dev.tsv.gz", "tatoeba.en-fr.test.tsv.gz", "flores-dev.en-fr.tsv")
             for pair in read(folder / name)]
    tested, seen = {key(pair[0]) for pair in tests}, set[Pair]()
    report: dict[str, Counter[str]] = {name: Counter() for name in ("tatoeba", "ml_cheatsheets", "python_docs", "terms")}
    tatoeba = list(filtered(read(folder / "tatoeba.en-fr.train.tsv.gz"), seen, tested, report["tatoeba"]))
    sheets, docs = (
        list(filtered((part for pair in read(folder / f"{name}.en-fr.train.tsv.gz") for part in sentences(pair)),
                      seen, tested, report[name]))
        for name in ("ml_cheatsheets", "python_docs"))
    terms = list(filtered(term_sentences(), seen, tested, report["terms"]))
    chance = random.Random(0)
    pairs = augment(tatoeba + docs, chance) + sheets * CHEATSHEET_COPIES
    pairs += terms + [without_stop(pair) for pair in terms]
    chance.shuffle(pairs)
    return [pair for pair in pairs if not holds_example(pair)], {name: dict(count) for name, count in report.items()}


def write(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8", newline="\n")


def main(data: Path, out: Path) -> None:
    pairs, report = corpus(data)
    out.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    write(out / "train.fr-en.tsv", ((as_typed(french, chance), english) for english, french in pairs))
    write(out / "train.en-fr.tsv", ((as_typed(english, chance), french) for english, french in pairs))
    dev = read(data / "translation" / "tatoeba.en-fr.dev.tsv.gz")
    write(out / "dev.fr-en.tsv", ((french, english) for english, french in dev))
    write(out / "dev.en-fr.tsv", dev)
    (out / "report.json").write_text(json.dumps(report | {"training pairs": len(pairs)}, indent=1))
    print(json.dumps(report | {"training pairs": len(pairs)}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
