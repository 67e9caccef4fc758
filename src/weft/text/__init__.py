"""Tokenizers, and cutting text into sentences."""

from weft.text.tokenizer import SPECIAL_TOKENS, StreamDecoder, Tokenizer

__all__ = ["SPECIAL_TOKENS", "StreamDecoder", "Tokenizer"]
