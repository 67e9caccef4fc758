"""ModernBERT (Warner et al. 2024): rotary positions, norms before, gated feed-forward, most layers local, few biases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from weft.errors import ConfigError
from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, write_rotary
from weft.families.rules import BOTH, Rule, Split, fused, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("modernbert",)
ARCHITECTURES = {"ModernBertForMaskedLM": "language_model", "ModernBertForSequenceClassification": "classification",
                 "ModernBertForTokenClassification": "tag", "ModernBertModel": "embedding"}
PREFIX = "model."
DROPPED = (("head.*", "the head of pre-training"),)
IGNORED = ("cls_token_id", "deterministic_flash_attn", "initializer_cutoff_factor", "layer_norm_eps", "reference_compile",
           "position_embedding_type", "repad_logits_with_grad", "sparse_pred_ignore_index", "sparse_prediction")
SIZES = {"modernbert-base": (22, 768, 12), "modernbert-large": (28, 1024, 16)}
KINDS: dict[str, Literal["local", "global"]] = {"sliding_attention": "local", "full_attention": "global"}
POOLINGS: dict[str, Literal["first", "mean"]] = {"cls": "first", "mean": "mean"}
_TINY = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 2,
         "max_position_embeddings": 40, "local_attention": 6, "cls_token_id": 1, "sep_token_id": 2}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "biases_mean": {**_TINY, "attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True,
                    "decoder_bias": False, "classifier_pooling": "mean", "num_hidden_layers": 2},
    "untied": {**_TINY, "tie_word_embeddings": False, "vocab_size": 53, "local_attention": 5, "num_hidden_layers": 2},
    "only_itself": {**_TINY, "local_attention": 1, "num_hidden_layers": 2},
    "all_global": {**_TINY, "global_attn_every_n_layers": 1, "num_hidden_layers": 2, "norm_eps": 1e-3},
    "own_layers": {**_TINY, "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
                   "hidden_activation": "silu", "classifier_activation": "relu"},
    "bases": {**_TINY, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
                                           "sliding_attention": {"rope_type": "default", "rope_theta": 90.0}}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    vocabulary, width, length = foreign.get("vocab_size", 50368), foreign.get("hidden_size", 768), \
        foreign.get("max_position_embeddings", 8192)
    heads, norm = foreign.get("num_attention_heads", 12), c.LayerNorm(foreign.get("norm_eps", 1e-5),
                                                                      foreign.get("norm_bias", False))
    everywhere, nearby = _read_rotaries(foreign, width // heads, length)
    layers, window = foreign.get("num_hidden_layers", 22), foreign.get("local_attention", 128) // 2 + 1
    pattern = _read_pattern(foreign, layers)
    local = "local" in pattern
    attention = c.Attention(heads, bias=foreign.get("attention_bias", False), window=window if local else None)
    feed_forward = c.FeedForward(foreign.get("intermediate_size", 1152), foreign.activation("hidden_activation", "gelu"),
                                 gated=True, bias=foreign.get("mlp_bias", False))
    stack = c.TransformerStack(layers, attention, feed_forward, norm=norm, placement="pre", position=everywhere,
                               final_norm=True, embedding_norm=True, first_norm=False, pattern=pattern if local else (),
                               local_position=nearby if local else None)
    tied = foreign.get("tie_word_embeddings", True) and head == "language_model"
    return c.ModelConfig(vocabulary, width, encoder=stack, head=_read_head(foreign, head, norm),
                         embedding=c.Embedding("all" if tied else "none", "none"), window=c.Window(length, length),
                         special=foreign.special(vocabulary, pad=50283, bos=50281, eos=50282))


def _read_head(foreign: ForeignConfig, head: str, norm: c.Norm) -> c.Head:
    transform = c.Transform(foreign.activation("classifier_activation", "gelu"), norm, foreign.get("classifier_bias", False))
    foreign.expect("classifier_pooling", *POOLINGS)
    pooling, bias = POOLINGS[foreign.get("classifier_pooling", "cls")], foreign.get("decoder_bias", True)
    heads: dict[str, c.Head] = {
        "language_model": c.LanguageModelHead(bias, transform=transform),
        "classification": c.ClassificationHead(foreign.labels(), pooling, transform=transform,
                                               **foreign.problem),
        "tag": c.TagHead(foreign.labels(), transform=transform),
        "embedding": c.EmbeddingHead()}
    return heads[head]


def _read_rotaries(foreign: ForeignConfig, head_size: int, length: int) -> tuple[c.Rotary, c.Rotary]:
    """Positions of global and of local layers. Without a local base of their own the latter share the global one."""
    foreign.expect("rope_scaling", None)
    values, base = foreign.get("rope_parameters", {}), foreign.get("global_rope_theta", 160000.0)
    given = "local_rope_theta" in foreign.values
    bases = {"full_attention": base, "sliding_attention": foreign.get("local_rope_theta", base if given else 10000.0)}
    found = {kind: read_rotary(foreign, head_size, length, base=theta, values=values.get(kind) or {})
             for kind, theta in bases.items()}
    for kind, rotary in found.items():
        if rotary.dimension is not None or rotary.by_length:
            raise ConfigError(f"the checkpoint's config.json has rope_parameters.{kind} = {values.get(kind)}; Weft does "
                              f"neither partial nor dynamic rotary positions in ModernBERT, nor longrope")
    return found["full_attention"], found["sliding_attention"]


def _read_pattern(foreign: ForeignConfig, layers: int) -> tuple[Literal["local", "global"], ...]:
    """The shortest run of kinds that gives every layer's when repeated."""
    every = foreign.get("global_attn_every_n_layers", 3)
    default = ["sliding_attention" if layer % every else "full_attention" for layer in range(layers)]
    types: Sequence[str] = foreign.get("layer_types", default)
    if len(types) != layers or not set(types) <= set(KINDS):
        raise ConfigError(f"the checkpoint's config.json has layer_types = {types}; Weft needs {layers} of {', '.join(KINDS)}")
    kinds = tuple(KINDS[kind] for kind in types)
    periods = (size for size in range(1, layers + 1) if all(kinds[i] == kinds[i % size] for i in range(layers)))
    return kinds[: next(periods, 0)]


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack, head = config.encoder, config.head
    assert isinstance(stack, c.TransformerStack) and isinstance(stack.norm, c.LayerNorm)
    assert isinstance(stack.position, c.Rotary)
    size, names = config.head_size(stack.attention), {ours: theirs for theirs, ours in KINDS.items()}
    values = {"model_type": "modernbert", "vocab_size": config.vocabulary, "hidden_size": config.width,
              "num_hidden_layers": stack.layers, "num_attention_heads": stack.attention.heads,
              "intermediate_size": stack.feed_forward.size, "max_position_embeddings": config.window.source,
              "hidden_activation": FOREIGN_ACTIVATIONS[stack.feed_forward.activation], "norm_eps": stack.norm.epsilon,
              "norm_bias": stack.norm.bias, "attention_bias": stack.attention.bias, "mlp_bias": stack.feed_forward.bias,
              "local_attention": 128 if stack.attention.window is None else max(2 * (stack.attention.window - 1), 1),
              "layer_types": [names["local" if stack.is_local(layer) else "global"] for layer in range(stack.layers)],
              "rope_parameters": {"full_attention": write_rotary(stack.position, size),
                                  "sliding_attention": write_rotary(stack.local_position or stack.position, size)},
              "global_rope_theta": stack.position.base,
              "local_rope_theta": (stack.local_position or stack.position).base,
              "tie_word_embeddings": config.embedding.sharing == "all" or not isinstance(head, c.LanguageModelHead)}
    if isinstance(head, c.EmbeddingHead):
        return values
    assert head.transform is not None
    values |= {"classifier_activation": FOREIGN_ACTIVATIONS[head.transform.activation], "classifier_bias": head.transform.bias}
    if isinstance(head, c.LanguageModelHead):
        values["decoder_bias"] = head.bias
    elif isinstance(head, c.ClassificationHead):
        values["classifier_pooling"] = {ours: theirs for theirs, ours in POOLINGS.items()}[head.pooling]  # type: ignore[index]
    return values


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack, head = config.encoder, config.head
    assert isinstance(stack, c.TransformerStack)
    norm = parts(isinstance(stack.norm, c.LayerNorm) and stack.norm.bias)
    yield from rename("source_embedding", "model.embeddings.tok_embeddings")
    yield from rename("encoder.embedding_norm", "model.embeddings.norm", norm)
    for layer in range(stack.layers):
        ours, theirs = f"encoder.blocks.{layer}", f"model.layers.{layer}"
        yield from block_rules(config, stack, ours, theirs)
        if layer > 0:
            yield from rename(f"{ours}.self_attention_norm", f"{theirs}.attn_norm", norm)
        yield from rename(f"{ours}.feed_forward_norm", f"{theirs}.mlp_norm", norm)
    yield from rename("encoder.final_norm", "model.final_norm", norm)
    if isinstance(head, c.EmbeddingHead):
        return
    assert head.transform is not None
    yield from rename("head.transform", "head.dense", parts(head.transform.bias))
    yield from rename("head.transform_norm", "head.norm", norm)
    if isinstance(head, c.LanguageModelHead):
        yield from rename("head", "decoder", parts(head.bias))
    else:
        yield from rename("head", "classifier", BOTH)


def block_rules(config: c.ModelConfig, stack: c.TransformerStack, ours: str, theirs: str) -> Iterator[Rule]:
    """The linear maps of one block."""
    attention, feed_forward = parts(stack.attention.bias), parts(stack.feed_forward.bias)
    names = [f"{ours}.self_attention.{part}" for part in ("query", "key", "value")]
    yield from fused(names, f"{theirs}.attn.Wqkv", Split((config.width,) * 3), attention)
    yield from rename(f"{ours}.self_attention.output", f"{theirs}.attn.Wo", attention)
    halves = [f"{ours}.feed_forward.gate", f"{ours}.feed_forward.up"]
    yield from fused(halves, f"{theirs}.mlp.Wi", Split((stack.feed_forward.size,) * 2), feed_forward)
    yield from rename(f"{ours}.feed_forward.down", f"{theirs}.mlp.Wo", feed_forward)
