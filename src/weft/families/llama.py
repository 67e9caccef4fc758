"""LLaMA 1 to 3 (Touvron et al. 2023; Dubey et al. 2024): rotary positions, RMSNorm before, SwiGLU, grouped heads.

Mistral, Qwen, Gemma and Phi-3 are variations of it and build on `read_with`, `write_with` and `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.families.foreign import FOREIGN_ACTIVATIONS, ForeignConfig
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.rules import Rule, parts, rename
from weft.spec import config as c

MODEL_TYPES = ("llama",)
ARCHITECTURES = {"LlamaForCausalLM": "language_model", "LlamaForSequenceClassification": "classification",
                 "LlamaForTokenClassification": "tag"}
PREFIX = "model."
DROPPED = (("model.layers.*.self_attn.rotary_emb.inv_freq", "computed from the config"),)
IGNORED = ("max_sequence_length",)  # max_position_embeddings says it
SIZES = {"llama-7b": (32, 4096, 32, 11008), "llama-13b": (40, 5120, 40, 13824)}
DEFAULTS = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1,
            "eos_token_id": 2}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "tied_grouped": {**_TINY, "num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 53},
    "biases_odd_head": {**_TINY, "attention_bias": True, "mlp_bias": True, "head_dim": 12, "num_key_value_heads": 1},
    "linear": {**_TINY, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
    "dynamic": {**_TINY, "max_position_embeddings": 8,
                "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    "llama3": {**_TINY, "rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "rope_theta": 500.0,
                                            "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
    "yarn": {**_TINY, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                                          "original_max_position_embeddings": 10}},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    return read_with(foreign, head, bias=foreign.get("attention_bias", False), mlp_bias=foreign.get("mlp_bias", False))


def read_with(foreign: ForeignConfig, head: str, *, mlp_bias: bool = False, activation: str = "hidden_act",
              position: c.Rotary | None = None, **attention: Any) -> c.ModelConfig:
    """A config from the keys that LLaMA and its variations share; `assume` has given their defaults.

    activation: its key. position: where the usual keys do not say it. attention: what c.Attention has beyond those keys.
    """
    vocabulary, width, heads = (foreign.need(key) for key in ("vocab_size", "hidden_size", "num_attention_heads"))
    length, size = foreign.need("max_position_embeddings"), foreign.get("head_dim", width // heads)
    tied = foreign.get("tie_word_embeddings", False) and head == "language_model"
    foreign.expect("rope_interleaved", False)
    feed_forward = c.FeedForward(foreign.need("intermediate_size"), foreign.activation(activation, "silu"), gated=True,
                                 bias=mlp_bias)
    position = position or read_rotary(foreign, size, length)
    if isinstance(position.scaling, c.DynamicScaling):
        length = round(length * position.scaling.factor)
    stack = c.TransformerStack(
        foreign.need("num_hidden_layers"),
        c.Attention(heads, foreign.get("num_key_value_heads", heads), size, **{"bias": False, **attention}),
        feed_forward, norm=c.RMSNorm(foreign.need("rms_norm_eps")), placement="pre", position=position, final_norm=True)
    return c.ModelConfig(vocabulary, width, decoder=stack, embedding=c.Embedding("target" if tied else "none", "none"),
                         head=read_head(foreign, head), special=foreign.special(vocabulary), window=c.Window(length, length))


def read_head(foreign: ForeignConfig, head: str) -> c.Head:
    if head == "language_model":
        return c.LanguageModelHead()
    if head == "tag":
        return c.TagHead(foreign.labels())
    return c.ClassificationHead(foreign.labels(), "last", bias=False, **foreign.problem)


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    return {"model_type": "llama", **write_with(config), "attention_bias": stack.attention.bias,
            "mlp_bias": stack.feed_forward.bias}


def write_with(config: c.ModelConfig, activation: str = "hidden_act") -> dict[str, Any]:
    """What LLaMA and its variations share. activation: its key."""
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary)
    size, scaling = config.head_size(stack.attention), stack.position.scaling
    return {"vocab_size": config.vocabulary, "hidden_size": config.width, "num_hidden_layers": stack.layers,
            "intermediate_size": stack.feed_forward.size, "num_attention_heads": stack.attention.heads,
            "num_key_value_heads": c.key_value_heads(stack.attention), "head_dim": size,
            activation: TORCH_ACTIVATIONS[stack.feed_forward.activation], "rms_norm_eps": stack.norm.epsilon,
            "max_position_embeddings": scaling.original if isinstance(scaling, c.DynamicScaling) else
            config.window.target, "tie_word_embeddings": config.embedding.sharing == "target",
            **rotary_keys(stack.position, size)}


TORCH_ACTIVATIONS = {**FOREIGN_ACTIVATIONS, "gelu_tanh": "gelu_pytorch_tanh"}
"""As FOREIGN_ACTIVATIONS, but for the name under which the approximated GELU is torch's own."""


def rules(config: c.ModelConfig) -> Iterator[Rule]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    yield from rename("target_embedding", "model.embed_tokens")
    for layer in range(stack.layers):
        yield from block_rules(stack, f"decoder.blocks.{layer}", f"model.layers.{layer}")
    yield from rename("decoder.final_norm", "model.norm")
    yield from head_rules(config.head)


def head_rules(head: c.Head) -> Iterator[Rule]:
    if isinstance(head, c.LanguageModelHead):
        yield from rename("head", "lm_head")
    else:
        yield from rename("head", "score", parts(isinstance(head, c.TagHead)))


NORMS = (("self_attention_norm", "input_layernorm"), ("feed_forward_norm", "post_attention_layernorm"))
SANDWICH_NORMS = (("self_attention_norm", "input_layernorm"), ("self_attention_output_norm", "post_attention_layernorm"),
                  ("feed_forward_norm", "pre_feedforward_layernorm"),
                  ("feed_forward_output_norm", "post_feedforward_layernorm"))


def block_rules(stack: c.TransformerStack, ours: str, theirs: str, norms: tuple[tuple[str, str], ...] = ()
                ) -> Iterator[Rule]:
    """One block. norms: (ours, theirs); by default those of LLaMA, or of Gemma 2 around sub-layers."""
    attention = stack.attention
    for mine, other in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        yield from rename(f"{ours}.self_attention.{mine}", f"{theirs}.self_attn.{other}", parts(attention.bias))
    output = attention.bias if attention.output_bias is None else attention.output_bias
    yield from rename(f"{ours}.self_attention.output", f"{theirs}.self_attn.o_proj", parts(output))
    if attention.query_key_norm is not None:
        yield from rename(f"{ours}.self_attention.query_norm", f"{theirs}.self_attn.q_norm")
        yield from rename(f"{ours}.self_attention.key_norm", f"{theirs}.self_attn.k_norm")
    for mine, other in (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
        yield from rename(f"{ours}.feed_forward.{mine}", f"{theirs}.mlp.{other}", parts(stack.feed_forward.bias))
    for mine, other in norms or (SANDWICH_NORMS if stack.placement == "sandwich" else NORMS):
        yield from rename(f"{ours}.{mine}", f"{theirs}.{other}")
