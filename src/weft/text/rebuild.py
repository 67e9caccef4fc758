"""A `tokenizers` tokenizer that cuts text as a SentencePiece model does. It reads no file and knows no model's template.

Where the library and SentencePiece differ, SentencePiece is right: the model was trained with it. What is left: a
compatibility character, such as a ligature, with a combining mark right after it may lose the mark, in the library's
reading of the character map; marks in no canonical order are put into it; and of two ways to cut a text that are worth
the same, the last bits decide, which are 32 there and 64 here.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from weft.errors import TokenizerError
from weft.text.sentencepiece import Kind, Model, Normalizer, Piece

SPACE = "\u2581"
UNKNOWN_PENALTY = 10.0  # below the lowest score, in both libraries
DECIMALS = 9  # finer than the file's 32 bits; numbers of 17 digits would not survive the library's own JSON
TEXT = (Kind.NORMAL, Kind.USER_DEFINED)


def build(model: Model) -> Any:
    """Raises TokenizerError for what the library cannot do."""
    refuse(model)
    hf = assemble(model)
    split = _unknown_runs(model) if model.algorithm == 1 else None
    if split is not None:
        hf.pre_tokenizer = split
    return hf


def assemble(model: Model) -> Any:
    """All but what keeps pieces that no text may become out of a run of unknown characters."""
    hf = tokenizers.Tokenizer(_unigram(model) if model.algorithm == 1 else _bpe(model))
    steps = _normalizers(model.normalizer)
    if steps:
        hf.normalizer = normalizers.Sequence(steps)
    hf.decoder = _decoder(model)
    hf.add_special_tokens([AddedToken(piece.text, normalized=False, special=True) for piece in model.pieces
                           if piece.kind in (Kind.CONTROL, Kind.UNKNOWN)])
    if model.algorithm == 2:
        hf.add_tokens([AddedToken(piece.text, normalized=False, special=False) for piece in model.pieces
                       if piece.kind == Kind.USER_DEFINED])
    return hf


def refuse(model: Model) -> None:
    """Raises TokenizerError for what the library cannot do."""
    kinds, normalizer = {piece.kind for piece in model.pieces}, model.normalizer
    around = normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces
    reasons = [
        (model.algorithm not in (1, 2), f"model_type {model.algorithm}; Weft reads unigram (1) and BPE (2) models"),
        (model.whitespace_as_suffix, "treat_whitespace_as_suffix"),
        (model.rewrites_output, "a denormalizer"),
        (model.algorithm == 2 and Kind.UNUSED in kinds, "unused pieces in a BPE model"),
        (model.algorithm == 2 and Kind.USER_DEFINED in kinds and around,
         "user-defined pieces in a BPE model that adds a space before a text or removes spaces"),
        (any(piece.kind not in TEXT and len(piece.text) == 1 for piece in model.pieces),
         "a piece of one character that does not stand for text"),
    ]
    found = [reason for bad, reason in reasons if bad]
    if found:
        raise TokenizerError(f"the SentencePiece model has {' and '.join(found)}, which Weft does not do. Save a "
                             f"tokenizer.json with transformers, where it knows the model")


def _unigram(model: Model) -> Any:
    """Pieces that no text may become get a score below that of any other way to write them. The library takes its
    penalty for unknown characters from the lowest score, so that rises too; that changes nothing where every character
    of a piece is a piece itself, as SentencePiece's trainer makes it."""
    normal = [piece.score for piece in model.pieces if piece.kind == Kind.NORMAL] or [0.0]
    lowest, highest = min(normal), max(normal)

    def score(piece: Piece) -> float:
        if piece.kind == Kind.USER_DEFINED:  # SentencePiece's own formula
            return len(piece.text.encode()) * highest - 0.1
        return piece.score if piece.kind == Kind.NORMAL else len(piece.text) * (lowest - UNKNOWN_PENALTY) - 1.0

    scored = [(piece.text, round(score(piece), DECIMALS)) for piece in model.pieces]
    return models.Unigram(scored, model.unknown, model.byte_fallback)


def _unknown_runs(model: Model) -> Any:
    """A split around runs of characters that have no piece, if a piece that no text may become has such a character.
    No other piece reaches across, so it changes nothing else."""
    known = {piece.text for piece in model.pieces if piece.kind in TEXT and len(piece.text) == 1}
    whole = {character for piece in model.pieces if piece.kind == Kind.USER_DEFINED for character in piece.text}
    strange = [piece.text for piece in model.pieces if piece.kind not in TEXT and not set(piece.text) <= known]
    if not strange:
        return None
    spelled = [text for text in strange if not set(text) & (known | whole)]
    if spelled:
        raise TokenizerError(f"the SentencePiece model has the pieces {', '.join(spelled[:5])} of characters that it does not "
                             f"know, so that a text could become them, which Weft does not do")
    return pre_tokenizers.Split(Regex(f"[^{ranges(known | whole)}]+"), "isolated")


def ranges(characters: set[str]) -> str:
    """Characters as the inside of a regular expression's brackets."""
    runs = groupby(enumerate(sorted(map(ord, characters))), lambda pair: pair[1] - pair[0])
    bounds = [[code for _, code in run] for _, run in runs]
    return "".join(f"\\x{{{codes[0]:X}}}-\\x{{{codes[-1]:X}}}" for codes in bounds)


def _bpe(model: Model) -> Any:
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    return models.BPE(vocabulary, _merges(model), unk_token=model.pieces[model.unknown].text, fuse_unk=True,
                      byte_fallback=model.byte_fallback)


def _merges(model: Model) -> list[tuple[str, str]]:
    """SentencePiece joins the two neighbours that make the piece of the highest score: a merge for each way to make it."""
    normal = {piece.text for piece in model.pieces if piece.kind == Kind.NORMAL}
    ordered = sorted((piece for piece in model.pieces if piece.kind == Kind.NORMAL), key=lambda piece: -piece.score)
    return [(piece.text[:cut], piece.text[cut:]) for piece in ordered for cut in range(1, len(piece.text))
            if piece.text[:cut] in normal and piece.text[cut:] in normal]


def _normalizers(normalizer: Normalizer) -> list[Any]:
    """In SentencePiece's order: a space before a text goes by what is left of it where spaces at its ends are removed."""
    space = SPACE if normalizer.escape_whitespaces else " "
    prefix: list[Any] = [normalizers.Prepend(" ")] if normalizer.add_dummy_prefix else []
    steps = [*_charsmap(normalizer.charsmap)]
    if normalizer.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A "), ""), *prefix]
    else:
        steps = [*prefix, *steps]
    if normalizer.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    if normalizer.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(f"{space}+\\z"), ""))
    return steps


def _charsmap(charsmap: bytes) -> list[Any]:
    """The library looks up clusters of at most five bytes, and only their beginnings, so what is a cluster is undone."""
    if not charsmap:
        return []
    table = normalizers.Precompiled(charsmap)
    composes, breaks = table.normalize_str("e\u0301") == "\u00e9", table.normalize_str("\r") == table.normalize_str("\n")
    return [*([normalizers.NFC()] if composes else []), *([normalizers.Replace("\r\n", "\n\n")] if breaks else []), table]


def _decoder(model: Model) -> Any:
    steps: list[Any] = [decoders.Replace(SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.normalizer.add_dummy_prefix or model.normalizer.remove_extra_whitespaces:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
