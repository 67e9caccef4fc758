"""Tokenizers of Hugging Face checkpoints: from the files of a folder, and back into one."""

from __future__ import annotations

import json
from pathlib import Path

from weft.errors import TokenizerError
from weft.text.tokenizer import Tokenizer


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder. Raises TokenizerError that says which files were looked for."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder / "tokenizer.json")
    raise TokenizerError(f"{folder} has no tokenizer.json")


def write_tokenizer(folder: Path, tokenizer: Tokenizer, special: dict[str, int | None], window: int) -> None:
    """tokenizer.json and the tokenizer_config.json that makes transformers use it. special: role -> id."""
    roles = {role: tokenizer.tokens([token])[0] for role, token in special.items() if token is not None}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": window, **roles}
    tokenizer.save(folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), "utf-8")


def special_ids(folder: Path, tokenizer: Tokenizer) -> dict[str, int]:
    """Role (`mask_token`, `unk_token`, ...) -> id, as the folder's tokenizer_config.json and special_tokens_map.json say."""
    found = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            values = json.loads((folder / name).read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise TokenizerError(f"cannot read {folder / name}: {error}") from error
        for role, token in values.items():
            text = token.get("content") if isinstance(token, dict) else token
            known = tokenizer.id_of(text) if role.endswith("_token") and isinstance(text, str) else None
            if known is not None:
                found[role] = known
    return found
