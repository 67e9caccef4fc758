"""SentencePiece models (Kudo and Richardson 2018): the file, as values. It builds no tokenizer.

Field numbers and defaults are those of sentencepiece_model.proto, github.com/google/sentencepiece.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from weft.errors import TokenizerError
from weft.text import protobuf as pb


class Kind(IntEnum):
    """What a piece is for. Only NORMAL and USER_DEFINED ones stand for text as it is written."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float = 0.0
    kind: Kind = Kind.NORMAL


@dataclass(frozen=True)
class Normalizer:
    """charsmap: a trie of rewritings, compiled, in the form that `tokenizers` reads too; empty is none."""

    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


@dataclass(frozen=True)
class Model:
    """algorithm: 1 unigram, 2 BPE, 3 words, 4 characters."""

    pieces: tuple[Piece, ...]
    normalizer: Normalizer
    algorithm: int = 1
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    rewrites_output: bool = False

    @property
    def unknown(self) -> int:
        return next(index for index, piece in enumerate(self.pieces) if piece.kind == Kind.UNKNOWN)


def read_sentencepiece(path: Path) -> Model:
    """Raises TokenizerError that names the file."""
    try:
        model = parse(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error
    except (pb.ProtobufError, ValueError) as error:
        raise TokenizerError(f"{path} is no SentencePiece model, or damaged: {error}. Fetch it again.") from error
    return model


def parse(data: bytes) -> Model:
    """Raises ValueError."""
    pieces: list[Piece] = []
    trainer: dict[int, pb.Value] = {}
    normalizer: dict[int, pb.Value] = {}
    denormalizer: dict[int, pb.Value] = {}
    for number, value in pb.read_fields(data):
        if number == 1:
            pieces.append(_piece(pb.binary(value)))
        elif number in (2, 3, 5):
            {2: trainer, 3: normalizer, 5: denormalizer}[number].update(pb.read_fields(pb.binary(value)))
    _check_pieces(pieces)
    charsmap = pb.binary(normalizer.get(2, b""))
    check_charsmap(charsmap)

    def flag(fields: dict[int, pb.Value], number: int, default: int) -> bool:
        return bool(pb.number(fields.get(number, default)))

    return Model(tuple(pieces), Normalizer(charsmap, flag(normalizer, 3, 1), flag(normalizer, 4, 1), flag(normalizer, 5, 1)),
                 pb.number(trainer.get(3, 1)), flag(trainer, 35, 0), flag(trainer, 24, 0),
                 bool(pb.binary(denormalizer.get(2, b""))))


def _piece(data: bytes) -> Piece:
    fields = dict(pb.read_fields(data))
    score = pb.single(fields[2]) if 2 in fields else 0.0
    if not np.isfinite(score):
        raise ValueError(f"a piece has the score {score}")
    return Piece(pb.text(fields.get(1, b"")), score, Kind(pb.number(fields.get(3, 1))))


def _check_pieces(pieces: list[Piece]) -> None:
    texts = [piece.text for piece in pieces]
    unknown = sum(piece.kind == Kind.UNKNOWN for piece in pieces)
    if unknown != 1:
        raise ValueError(f"{unknown} of {len(pieces)} pieces stand for what is unknown; one must")
    if "" in texts or len(set(texts)) != len(texts):
        raise ValueError("a piece is empty or there twice")


def check_charsmap(charsmap: bytes) -> None:
    """Whether every step through the trie stays inside it and every value inside the text behind it. Raises ValueError.

    The form: size of the trie in bytes, its units (github.com/s-yata/darts-clone), then what values point at: UTF-8
    texts that end in a zero byte. All are little-endian 32-bit integers.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    block = 256  # a step changes the last eight bits only
    if len(charsmap) < 4 + size or size == 0 or size % (4 * block):
        raise ValueError("its character map is cut off")
    units, text = np.frombuffer(charsmap[4 : 4 + size], "<u4").astype(np.int64), charsmap[4 + size :]
    text.decode("utf-8")
    inner = np.flatnonzero(units >> 31 == 0)
    place = inner ^ ((units[inner] >> 10) << ((units[inner] & 512) >> 6))
    leaves = place[(units[inner] & 256) != 0]
    if not text.endswith(b"\0") or (place >= len(units)).any():
        raise ValueError("its character map is damaged")
    values = units[leaves] & 0x7FFFFFFF
    if (values >= len(text)).any() or (np.frombuffer(text, np.uint8)[values] & 0xC0 == 0x80).any():
        raise ValueError("its character map is damaged")
