"""How a text's states become one vector, as a folder of sentence-transformers says it around a checkpoint.

modules.json lists a Transformer (the checkpoint itself), a Pooling with a config.json of its own, and perhaps Normalize.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from weft.bundle import read_json
from weft.errors import ConfigError
from weft.spec import config as c

MODULES = "modules.json"
POOLINGS: dict[str, Literal["first", "mean", "last"]] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
"""Names of newer files -> ours; older ones have a switch for each kind."""
SWITCHES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "lasttoken",
            "pooling_mode_max_tokens": "max", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens": "weightedmean"}


def read_pooling(folder: Path, head: c.EmbeddingHead) -> c.EmbeddingHead:
    """The head as modules.json says; as it is where there is none.

    Raises ConfigError for what Weft does not do, such as a module behind the pooling.
    """
    if not (folder / MODULES).is_file():
        return head
    modules = read_json(folder / MODULES)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ConfigError(f"{folder / MODULES} holds no list of modules; the file is damaged")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ConfigError(f"{folder / MODULES} has the modules {', '.join(kinds)}; Weft does Transformer, Pooling and, after "
                          f"them, Normalize. To read the Transformer alone, import a copy of the folder without {MODULES}")
    path = str(modules[1].get("path", ""))
    if Path(path).name != path:
        raise ConfigError(f"{folder / MODULES} has a Pooling in {path!r:.60}, which is no folder in it; the file is damaged")
    return c.EmbeddingHead(_kind(folder / path / "config.json"), "Normalize" in kinds)


def _kind(path: Path) -> Literal["first", "mean", "last"]:
    values = read_json(path)
    values = values if isinstance(values, dict) else {}
    named = values.get("pooling_mode")
    chosen = [str(named)] if named is not None else [kind for key, kind in SWITCHES.items() if values.get(key)]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ConfigError(f"{path} asks for the pooling {' and '.join(chosen) or 'of no kind'}, which Weft does not do; it "
                          f"does {', '.join(POOLINGS)}")
    return POOLINGS[chosen[0]]


def pooling_files(config: c.ModelConfig) -> dict[str, str]:
    """Name -> text of the files that say it; none for other heads, and where it is the default."""
    head = config.head
    if not isinstance(head, c.EmbeddingHead) or head == c.EmbeddingHead():
        return {}
    named = next(name for name, ours in POOLINGS.items() if ours == head.pooling)
    paths = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2_Normalize"} if head.normalise else {})
    modules = [{"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for index, (kind, path) in enumerate(paths.items())]
    pooling: dict[str, Any] = {"word_embedding_dimension": config.width}
    pooling |= {key: kind == named for key, kind in SWITCHES.items()}
    return {MODULES: json.dumps(modules, indent=2), "1_Pooling/config.json": json.dumps(pooling, indent=2)}
