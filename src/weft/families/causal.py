"""What decoder-only families share: the ends of a model around its stack. It knows no family."""

from __future__ import annotations

from collections.abc import Iterator

from weft.families.foreign import ForeignConfig
from weft.families.rules import Rule, parts, rename
from weft.spec import config as c


def build(foreign: ForeignConfig, head: str, stack: c.TransformerStack, *, vocabulary: int, width: int, window: int,
          tied: bool, bias: bool = False, size: int | None = None, **special: int) -> c.ModelConfig:
    """A decoder-only model.

    tied: where config.json does not say whether head and embeddings share a matrix. bias: of a language model's output
    layer. size: of embeddings, mapped on the way in and out where it is not the width. special: ids (`pad`, `bos`, `eos`)
    where config.json has none.
    """
    size = None if size == width else size
    out = None if size is None else c.Transform("none", bias=False, size=size)
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(bias, transform=out),
        "classification": c.ClassificationHead(foreign.labels(), "last", bias=False, transform=out, **foreign.problem),
        "tag": c.TagHead(foreign.labels(), transform=out)}
    shared = foreign.get("tie_word_embeddings", tied) and head == "language_model"
    scaling = stack.position.scaling if isinstance(stack.position, c.Rotary) else None
    if isinstance(scaling, c.DynamicScaling):
        window = round(window * scaling.factor)
    embedding = c.Embedding("target" if shared else "none", "none", size, projection="after" if size is None else "before")
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=embedding,
                         head=heads[head], special=foreign.special(vocabulary, **special), window=c.Window(window, window))


def decoder(config: c.ModelConfig) -> c.TransformerStack:
    """The stack of what must be a decoder-only Transformer."""
    assert isinstance(config.decoder, c.TransformerStack) and config.encoder is None
    return config.decoder


def tied(config: c.ModelConfig) -> bool:
    return config.embedding.sharing == "target"


def positions(config: c.ModelConfig) -> int:
    """max_position_embeddings: the window, or what it was before dynamic scaling."""
    position = decoder(config).position
    scaling = position.scaling if isinstance(position, c.Rotary) else None
    return scaling.original if isinstance(scaling, c.DynamicScaling) else config.window.target


def head_rules(config: c.ModelConfig, *, language_model: str = "lm_head", tag: str = "classifier") -> Iterator[Rule]:
    """The output layer, by the name that the family gives it."""
    assert not isinstance(config.head, c.EmbeddingHead)
    name = {"classification": "score", "tag": tag}.get(config.head.type, language_model)
    yield from rename("head", name, parts(config.head.bias))
