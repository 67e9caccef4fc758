"""Marian's tokenizer, as OPUS-MT has it: source.spm cuts a text into pieces, vocab.json numbers them.

The vocabulary holds the pieces of the target language too. No text becomes them, with one exception that is Marian's: a
run of characters that source.spm does not know is looked up as it is written, and is unknown only if vocab.json lacks it
as well. What is different: a piece of several characters that source.spm has and vocab.json lacks is unknown to Marian;
here such text is cut into smaller pieces, which the model has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tokenizers import Regex, decoders, normalizers, pre_tokenizers

from weft.errors import TokenizerError
from weft.text import rebuild
from weft.text.sentencepiece import Kind, Model, Piece, read_sentencepiece
from weft.text.settings import Settings
from weft.text.vocabularies import read_vocabulary

FILES = ("source.spm", "vocab.json")
STAND_INS = "\ufffd\ue000\ue001\ue002"
"""What may stand for a run of unknown characters: one that is unknown itself."""


def read(settings: Settings) -> Any:
    """One `tokenizers` tokenizer. Raises TokenizerError."""
    folder = settings.folder
    if settings.values.get("separate_vocabs"):
        raise TokenizerError(f"{folder / 'tokenizer_config.json'} has separate_vocabs = true: source and target pieces have "
                             f"different ids, a tokenizer for each side; Weft's models have one")
    source, vocabulary = read_sentencepiece(folder / FILES[0]), read_vocabulary(folder / FILES[1])
    unknown = settings.roles("marian")["unk_token"]
    if unknown not in vocabulary:
        raise TokenizerError(f"{folder / FILES[1]} lacks {unknown}, which stands for unknown text")
    try:
        if source.algorithm != 1:
            raise TokenizerError(f"model_type {source.algorithm}; of Marian's models Weft reads unigram ones (1)")
        rebuild.refuse(source)
        return build(source, renumbered(source, vocabulary, unknown, {"</s>", "<pad>", *language_tokens(vocabulary)}))
    except TokenizerError as error:
        raise TokenizerError(f"{folder / FILES[0]}: {error}") from error


def language_tokens(tokens: Iterable[str]) -> list[str]:
    """Those of a multilingual model, `>>fra<<`: the first token of a text says the language to translate into."""
    return sorted(token for token in tokens if token.startswith(">>") and token.endswith("<<") and len(token) > 4)


def renumbered(source: Model, vocabulary: dict[str, int], unknown: str, special: Iterable[str]) -> Model:
    """The model with the tokens of vocab.json for pieces; those that source.spm has not are UNUSED. special: tokens that no
    text becomes."""
    known = {piece.text: piece for piece in source.pieces if piece.kind != Kind.UNKNOWN}
    kinds = dict.fromkeys(special, Kind.CONTROL) | {unknown: Kind.UNKNOWN}
    pieces = tuple(Piece(token, kind=kinds[token]) if token in kinds else known.get(token, Piece(token, kind=Kind.UNUSED))
                   for token in sorted(vocabulary, key=vocabulary.__getitem__))
    return replace(source, pieces=pieces)


def build(source: Model, model: Model) -> Any:
    """The tokenizer of `renumbered`. Raises TokenizerError."""
    lost = {piece.text for piece in source.pieces if piece.kind == Kind.BYTE} - {piece.text for piece in model.pieces}
    if lost:
        raise TokenizerError(f"it falls back to bytes, but vocab.json lacks {len(lost)} of them, such as {min(lost)}")
    hf = rebuild.assemble(model)
    known = {character for piece in model.pieces if piece.kind in rebuild.TEXT for character in piece.text}
    alone = {piece.text for piece in source.pieces if piece.kind in rebuild.TEXT and len(piece.text) == 1} - known
    written = [piece.text for piece in model.pieces if piece.kind == Kind.UNUSED and not set(piece.text) & (known | alone)]
    if written and model.byte_fallback:
        raise TokenizerError(f"it falls back to bytes, but vocab.json has {written[0]!r}, which it would not write so")
    splits = [pre_tokenizers.Split(Regex(f"[{rebuild.ranges(alone)}]"), "isolated")] if alone else []
    if known | alone:
        splits.append(pre_tokenizers.Split(Regex(f"[^{rebuild.ranges(known | alone)}]+"), "isolated"))
    hf.pre_tokenizer = pre_tokenizers.Sequence(splits)
    if written:
        hf.normalizer = normalizers.Sequence([*([hf.normalizer] if hf.normalizer else []), _unwritten(known | alone, written)])
    hf.decoder = decoders.Sequence([decoders.Replace(rebuild.SPACE, " "),
                                    *([decoders.ByteFallback()] if model.byte_fallback else []), decoders.Fuse(),
                                    decoders.Replace(Regex(r"\A\s+|\s+\z"), "")])
    return hf


def _unwritten(known: set[str], written: list[str]) -> Any:
    """Runs of unknown characters become one such character, except those that a token is written like."""
    other = f"[^{rebuild.ranges(known)}]"
    taken = known | set(written)
    stand_in = next((character for character in STAND_INS if character not in taken), None)
    if stand_in is None:
        raise TokenizerError("its vocabulary has U+FFFD and the first private characters; none is left for unknown text")
    single = rebuild.ranges({token for token in written if len(token) == 1})
    several = ["".join(f"\\x{{{ord(character):X}}}" for character in token) for token in written if len(token) > 1]
    tokens = "|".join([*([f"[{single}]"] if single else []), *several])
    return normalizers.Replace(Regex(f"(?<!{other})(?!(?:{tokens})(?!{other})){other}+"), stand_in)
