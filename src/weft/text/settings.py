"""What a Hugging Face folder says of its tokenizer beside the vocabulary: class, special tokens, switches, added tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from weft.errors import TokenizerError

Files = Literal["wordpiece", "byte_bpe", "sentencepiece", "marian", "m2m100"]


@dataclass(frozen=True)
class TokenizerClass:
    """files: what its vocabulary is. roles: its special tokens, unless the folder names others.

    layout: what stands around a text: `classify` <cls> A <sep>, `pairs` the same with two <sep> between texts,
    `ends` A <eos>, `begins` <bos> A, `switches` what add_bos_token (begins: true) and add_eos_token say,
    `language_first` <language> A <eos>, `language_last` A <eos> <language>, of the language that is translated from.
    """

    files: Files
    roles: dict[str, str]
    layout: Literal["classify", "pairs", "ends", "begins", "switches", "language_first", "language_last", "none"]


def _roles(**tokens: str) -> dict[str, str]:
    return {f"{role}_token": token for role, token in tokens.items()}


_BERT = TokenizerClass("wordpiece", _roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"), "classify")
_ROBERTA = TokenizerClass("byte_bpe", _roles(bos="<s>", eos="</s>", sep="</s>", cls="<s>", unk="<unk>", pad="<pad>",
                                             mask="<mask>"), "pairs")
_GPT2 = TokenizerClass("byte_bpe", _roles(bos="<|endoftext|>", eos="<|endoftext|>", unk="<|endoftext|>"), "switches")
_T5 = TokenizerClass("sentencepiece", _roles(eos="</s>", unk="<unk>", pad="<pad>"), "ends")
_LLAMA = TokenizerClass("sentencepiece", _roles(unk="<unk>", bos="<s>", eos="</s>"), "begins")
_MARIAN = TokenizerClass("marian", _roles(eos="</s>", unk="<unk>", pad="<pad>"), "ends")
_M2M100 = TokenizerClass("m2m100", _roles(bos="<s>", eos="</s>", sep="</s>", unk="<unk>", pad="<pad>"), "language_first")
_MBART50 = {role: token for role, token in _ROBERTA.roles.items() if role != "bos_token"}
CLASSES: dict[str, TokenizerClass] = {
    **dict.fromkeys(("Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "LayoutLM", "Lxmert", "Retribert"), _BERT),
    **dict.fromkeys(("Roberta", "Bart", "Longformer", "LED"), _ROBERTA),
    "GPT2": _GPT2,
    **dict.fromkeys(("T5", "MT5"), _T5),
    **dict.fromkeys(("Llama", "CodeLlama"), _LLAMA),
    "Gemma": TokenizerClass("sentencepiece", _roles(unk="<unk>", bos="<bos>", eos="<eos>", pad="<pad>"), "begins"),
    "XLMRoberta": TokenizerClass("sentencepiece", _ROBERTA.roles, "pairs"),
    "Marian": _MARIAN,
    "MBart": TokenizerClass("sentencepiece", _ROBERTA.roles, "language_last"),
    "MBart50": TokenizerClass("sentencepiece", _MBART50, "language_first"),
    "Nllb": TokenizerClass("sentencepiece", _ROBERTA.roles, "language_first"),
    "M2M100": _M2M100,
    "Pegasus": TokenizerClass("sentencepiece", _roles(eos="</s>", unk="<unk>", pad="<pad>", mask="<mask_2>"), "ends"),
}
MODEL_CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra", "roberta": "Roberta", "bart": "Bart",
                 "gpt2": "GPT2", "opt": "GPT2", "t5": "T5", "mt5": "MT5", "llama": "Llama", "mistral": "Llama",
                 "mixtral": "Llama", "gemma": "Gemma", "gemma2": "Gemma", "xlm-roberta": "XLMRoberta",
                 "marian": "Marian", "mbart": "MBart", "m2m_100": "M2M100", "pegasus": "Pegasus"}
ROLELESS = ("PreTrained", "TokenizersBackend")
"""Classes (without `TokenizerFast`) that have the special tokens that a folder names, and no others."""
PLAIN: dict[Files, TokenizerClass] = {"wordpiece": _BERT, "byte_bpe": _GPT2, "marian": _MARIAN, "m2m100": _M2M100,
                                      "sentencepiece": TokenizerClass("sentencepiece", {}, "none")}


@dataclass(frozen=True)
class Settings:
    """values: those of tokenizer_config.json over those of special_tokens_map.json. name: of the class, without
    `Tokenizer`; None if nothing says it. added: id -> token that stands outside the vocabulary file, and its switches."""

    folder: Path
    name: str | None
    values: dict[str, Any]
    added: dict[int, dict[str, Any]] = field(default_factory=dict)

    def describe(self, files: Files) -> TokenizerClass:
        """The class that reads these files. Raises TokenizerError where Weft does not know it."""
        if self.name is None:
            return PLAIN[files]
        found = CLASSES.get(self.name)
        if found is None or found.files != files:
            known = ", ".join(sorted(name for name, value in CLASSES.items() if value.files == files))
            raise TokenizerError(f"{self.folder} has no tokenizer.json, and the tokenizer's class is {self.name}, which Weft "
                                 f"does not build from other files; from these it builds {known}. Save a tokenizer.json with "
                                 f"transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)")
        return found

    def roles(self, files: Files) -> dict[str, str]:
        """Role (`mask_token`, ...) -> token."""
        return {**self.describe(files).roles, **named_tokens(self.values)}


def named_tokens(values: dict[str, Any]) -> dict[str, str]:
    """Role -> token, of every key that ends in _token and names one."""
    contents = {role: _content(token) for role, token in values.items() if role.endswith("_token")}
    return {role: text for role, text in contents.items() if isinstance(text, str)}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def read_settings(folder: Path) -> Settings:
    """Raises TokenizerError for a damaged file."""
    values = read_table(folder / "special_tokens_map.json") | read_table(folder / "tokenizer_config.json")
    model = read_table(folder / "config.json")
    written = values.get("tokenizer_class") or model.get("tokenizer_class")
    name = str(written).removesuffix("Fast").removesuffix("Tokenizer") if written else None
    if name is None and model.get("model_type"):
        name = MODEL_CLASSES.get(model["model_type"], str(model["model_type"]))
    return Settings(folder, name, values, _added(folder, values))


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if the file is absent. Raises TokenizerError."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise TokenizerError(f"{path} should hold a JSON object, not a {type(values).__name__}")
    return values


def _added(folder: Path, values: dict[str, Any]) -> dict[int, dict[str, Any]]:
    older = read_table(folder / "added_tokens.json")
    newer = values.get("added_tokens_decoder") or {}
    try:
        special = {*named_tokens(values).values(), *map(_content, values.get("additional_special_tokens") or ())}
        found = {int(index): {"content": token, "special": token in special} for token, index in older.items()}
        return found | {int(index): {"content": str(token["content"]), **_switches(token)} for index, token in newer.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{folder}: added_tokens.json or added_tokens_decoder in tokenizer_config.json is damaged "
                             f"({error!r})") from error


def _switches(token: dict[str, Any]) -> dict[str, bool]:
    return {key: bool(token[key]) for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in token}
