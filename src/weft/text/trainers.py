"""Texts -> a trained tokenizer of the `tokenizers` library. It knows nothing of files and decoding.

The library finds the pieces; this module then lays the vocabulary out: special tokens, byte tokens, single
characters, learned pieces. Each step sorts by (count, code point) where it can, so that the order of a hash table
decides nothing; only inside the library's Unigram trainer it still does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from weft.errors import TokenizerError
from weft.text.recipes import BYTE_FALLBACK, CONTINUING, Recipe

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
COVERAGE = 0.9998  # share of all characters whose kinds get a piece of their own; rarer ones are spelled in bytes
SCORE_DECIMALS = 6  # Unigram log-probabilities: sums over threads differ in the last bits, which rounding removes


def train(recipe: Recipe, texts: Iterable[str], size: int, specials: Sequence[str]) -> Any:
    """Train a library tokenizer with at most `size` pieces, fewer where the texts do not hold as many.

    Raises TokenizerError for no text, a lone surrogate, unusable special tokens or a `size` that is too small.
    """
    check_specials(specials)
    check_size(recipe, size, specials)
    corpus = [check_text(text) for text in texts]
    if not any(corpus):
        raise TokenizerError(
            f"no text to train a {recipe.kind} tokenizer on: {len(corpus)} texts, 0 characters, at least 1 is needed. "
            "The data file is probably empty or its column is. Check the path and the columns."
        )
    hf = recipe.dress(tokenizers.Tokenizer(_MODELS[recipe.kind](recipe, corpus, size, list(specials))))
    hf.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in specials])
    return hf


def check_text(text: str) -> str:
    """The text itself. Raises TokenizerError where it is no valid Unicode text (a lone surrogate) or no str."""
    if not isinstance(text, str):
        raise TokenizerError(f"a tokenizer reads str, not {type(text).__name__}: {text!r:.80}. Decode bytes first.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X} at position {error.start} of "
            f"{len(text)}, which UTF-8 cannot write. It was probably decoded with errors='surrogateescape' or cut "
            "inside a UTF-16 pair. Decode the source again with its right encoding, or with errors='replace'."
        ) from None
    return text


def check_specials(specials: Sequence[str]) -> None:
    """Special tokens in the order pad, unk, bos, eos, others; of a form that no piece of a text can take."""
    if len(specials) < 4 or len(set(specials)) != len(specials):
        raise TokenizerError(
            f"special tokens {list(specials)!r}: at least 4 different ones are needed, "
            "in the order padding, unknown, start of text, end of text."
        )
    for token in specials:
        letters, marks = re.search(r"[A-Za-z0-9]", token), re.search(r"[^A-Za-z0-9']", token)
        if not (re.fullmatch(r"[!-~]+", token) and letters and marks) or token in BYTE_TOKENS:
            raise TokenizerError(
                f"special token {token!r} could also be a piece of ordinary text. Use printable ASCII with both a "
                "letter or digit and a mark, such as '<mask>', and not a byte token such as '<0x0A>'."
            )


def check_size(recipe: Recipe, size: int, specials: Sequence[str]) -> None:
    """Room for the special tokens, the byte tokens and at least one piece (two forms of a character in WordPiece)."""
    fixed = len(specials) + (256 if recipe.kind in ("byte_bpe", *BYTE_FALLBACK) else 0)
    least = fixed + {"byte_bpe": 0, "wordpiece": 2}.get(recipe.kind, 1)
    if size < least:
        raise TokenizerError(
            f"vocabulary size {size} is too small for {recipe.kind}: {fixed} places go to special tokens and bytes, "
            f"so at least {least} are needed. Ask for more, for example {max(1000, 4 * least)}."
        )


def _byte_bpe(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """Byte-level BPE, Radford et al. 2019: the alphabet is the 256 bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    trained = _learn(recipe, models.BPE(), trainer, corpus)
    return models.BPE(trained["vocab"], [tuple(pair) for pair in trained["merges"]])


def _metaspace_bpe(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """BPE over characters, Sennrich et al. 2016, with byte fallback as in SentencePiece."""
    alphabet = _alphabet(recipe, corpus, size - len(specials) - 256)
    trainer = trainers.BpeTrainer(vocab_size=size - 256, special_tokens=specials, show_progress=False)
    trained = _learn(recipe, models.BPE(), trainer, _segments(recipe, corpus, alphabet))
    pieces = sorted(trained["vocab"], key=trained["vocab"].__getitem__)[len(specials) :]
    merges = [tuple(pair) for pair in trained["merges"]]
    return models.BPE(_numbered(specials, BYTE_TOKENS, pieces), merges, unk_token=specials[1], byte_fallback=True)


def _unigram(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """Unigram language model, Kudo 2018, with byte fallback. The scores are log-probabilities."""
    alphabet = _alphabet(recipe, corpus, size - len(specials) - 256)
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 256, special_tokens=specials, unk_token=specials[1], show_progress=False
    )
    trained = _learn(recipe, models.Unigram(), trainer, _segments(recipe, corpus, alphabet))
    learned = [(piece, round(score, SCORE_DECIMALS)) for piece, score in trained["vocab"] if piece not in specials]
    learned.sort(key=lambda pair: (len(pair[0]) > 1, -pair[1], pair[0]))  # the trainer may overshoot; cut the worst
    learned = sorted(learned[: size - len(specials) - 256], key=lambda pair: (-pair[1], pair[0]))
    fixed = [(token, 0.0) for token in chain(specials, BYTE_TOKENS)]  # no match of WORDS spells these
    return models.Unigram(fixed + learned, 1, True)


def _wordpiece(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """WordPiece, Schuster and Nakajima 2012 as in BERT; each character gets a starting and a continuing form."""
    room = size - len(specials)
    alphabet = _alphabet(recipe, corpus, room // 2)
    characters = [form + character for form in ("", CONTINUING) for character in alphabet]
    trainer = trainers.WordPieceTrainer(  # characters named here get their ids in this order, which breaks ties
        vocab_size=size, special_tokens=specials + characters, show_progress=False, continuing_subword_prefix=CONTINUING
    )
    model = models.WordPiece(unk_token=specials[1])
    trained = _learn(recipe, model, trainer, _segments(recipe, corpus, alphabet))
    known = {*specials, *characters}
    pieces = [piece for piece in sorted(trained["vocab"], key=trained["vocab"].__getitem__) if piece not in known]
    vocabulary = _numbered(specials, characters, pieces[: room - len(characters)])
    return models.WordPiece(vocabulary, unk_token=specials[1], continuing_subword_prefix=CONTINUING)


def _word(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """The most frequent words, each with the space before it."""
    trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    trained = _learn(recipe, models.WordLevel(unk_token=specials[1]), trainer, corpus)
    return models.WordLevel(trained["vocab"], unk_token=specials[1])


def _character(recipe: Recipe, corpus: list[str], size: int, specials: list[str]) -> Any:
    """The most frequent characters."""
    alphabet = _alphabet(recipe, corpus, size - len(specials), coverage=1.0)
    return models.WordLevel(_numbered(specials, alphabet), unk_token=specials[1])


_MODELS = {
    "byte_bpe": _byte_bpe,
    "metaspace_bpe": _metaspace_bpe,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "word": _word,
    "character": _character,
}


def _learn(recipe: Recipe, model: Any, trainer: Any, texts: Iterable[str]) -> dict[str, Any]:
    """Run the library's trainer; the `model` part of its JSON."""
    hf = recipe.dress(tokenizers.Tokenizer(model))
    hf.train_from_iterator(texts, trainer)
    return json.loads(hf.to_str())["model"]


def _numbered(*groups: Iterable[str]) -> dict[str, int]:
    """Pieces -> ids, in the order given."""
    return {piece: index for index, piece in enumerate(chain(*groups))}


def _alphabet(recipe: Recipe, corpus: list[str], limit: int, coverage: float = COVERAGE) -> list[str]:
    """The most frequent characters that make up `coverage` of the texts, `limit` at most, by falling count."""
    counts: Counter[str] = Counter()
    for text in _normalised(recipe, corpus):
        counts.update(text)
    if recipe.leading_space:
        counts[" "] += len(corpus)
    counts.pop("\0", None)  # the Unigram trainer's own separator
    wanted, covered, alphabet = coverage * counts.total(), 0, list[str]()
    first = " " if recipe.leading_space else ""  # stands before every text, so it has a place however small the size
    for character, count in sorted(counts.items(), key=lambda item: (item[0] != first, -item[1], item[0])):
        if len(alphabet) == limit or covered >= wanted:
            break
        alphabet.append(character)
        covered += count
    return alphabet


def _segments(recipe: Recipe, corpus: list[str], alphabet: list[str]) -> Iterator[str]:
    """The texts cut at every character outside the alphabet, so that no piece reaches across one."""
    outside = re.compile(f"[^{re.escape(''.join(alphabet))}]+")
    for text in _normalised(recipe, corpus):
        yield from filter(None, outside.split(text))


def _normalised(recipe: Recipe, corpus: list[str]) -> Iterable[str]:
    """The texts as their characters are counted: in lower case where the recipe says so."""
    return map(normalizers.Lowercase().normalize_str, corpus) if recipe.lowercase else corpus
