"""Gemma 3 (Gemma Team 2025): Gemma 2 with query and key norms for caps, five local layers to a global one.

Local layers have rotary positions with a base of their own. Those of 4B parameters and more read images too; of them this is
the text model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from weft.errors import ConfigError
from weft.families import llama
from weft.families.foreign import ForeignConfig
from weft.families.gemma2 import read_sandwich, write_sandwich
from weft.families.layer_types import KINDS, NAMES
from weft.families.rotary import read_rotary, rotary_keys
from weft.families.wholes import Whole
from weft.spec import config as c

MODEL_TYPES = ("gemma3_text",)
ARCHITECTURES = {"Gemma3ForCausalLM": "language_model", "Gemma3TextForSequenceClassification": "classification"}
WHOLES = {"gemma3": Whole("gemma3_text", {"Gemma3ForConditionalGeneration": "Gemma3ForCausalLM"}, (
    "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index", "boi_token_id",
    "eoi_token_id", "image_token_id"), passed_over=("final_logit_softcapping",))}
PREFIX = llama.PREFIX
DROPPED = llama.DROPPED
IGNORED = ("cache_implementation",)
DEFAULTS = {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "pad_token_id": 0,
            "eos_token_id": 1, "bos_token_id": 2, "query_pre_attn_scalar": 256, "sliding_window": 4096}
BASES: dict[Literal["local", "global"], float] = {"local": 10_000.0, "global": 1_000_000.0}
SIZES = {"gemma-3-270m": (18, 640, 4, 2048), "gemma-3-1b": (26, 1152, 4, 6912), "gemma-3-4b": (34, 2560, 8, 10240),
         "gemma-3-12b": (48, 3840, 16, 15360), "gemma-3-27b": (62, 5376, 32, 21504)}
_TINY = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 40, "sliding_window": 4,
         "query_pre_attn_scalar": 12, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
_LINEAR = {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0}
EXAMPLES: dict[str, dict[str, Any]] = {
    "plain": _TINY,
    "untied_odd_head": {**_TINY, "tie_word_embeddings": False, "head_dim": 12, "num_key_value_heads": 1, "vocab_size": 53},
    "scaled_bases": {**_TINY, "rope_parameters": {"full_attention": _LINEAR, "sliding_attention":
                                                  {"rope_type": "default", "rope_theta": 50.0}}},
    "one_base": {**_TINY, "query_pre_attn_scalar": 8, "attention_bias": True,
                 "rope_parameters": {kind: {"rope_type": "default", "rope_theta": 500.0} for kind in KINDS}},
    "all_global": {**_TINY, "layer_types": ["full_attention"] * 3, "num_key_value_heads": 4},
    "all_local": {**_TINY, "layer_types": None, "sliding_window": 3},
    "capped_logits": {**_TINY, "final_logit_softcapping": 3.0, "rms_norm_eps": 1e-3,
                      "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
}


def read_config(foreign: ForeignConfig, head: str) -> c.ModelConfig:
    foreign.assume(DEFAULTS)
    foreign.expect("attn_logit_softcapping", None)
    period = foreign.get("sliding_window_pattern", foreign.get("_sliding_window_pattern", 6))
    default = [NAMES["local" if (layer + 1) % period else "global"] for layer in range(foreign.need("num_hidden_layers"))]
    norm = c.RMSNorm(foreign.need("rms_norm_eps"), offset=1.0)
    near, far = (_read_rotary(foreign, kind) for kind in BASES)
    config = read_sandwich(foreign, head, default, position=far, query_key_norm=norm)
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack)
    local = None if stack.attention.window is None or near == far else near
    return replace(config, decoder=replace(stack, local_position=local))


def _read_rotary(foreign: ForeignConfig, kind: Literal["local", "global"]) -> c.Rotary:
    """Rotary positions of one kind of layer: from `rope_parameters` of both, or from keys of their own in older files."""
    older = {NAMES["global"]: {"rope_theta": foreign.get("rope_theta"), **foreign.get("rope_scaling", {})},
             NAMES["local"]: {"rope_theta": foreign.get("rope_local_base_freq")}}
    both = foreign.get("rope_parameters", older)
    unknown = sorted(set(both) - set(KINDS))
    if unknown:
        raise ConfigError(f"the checkpoint's config.json has rope_parameters of {', '.join(unknown)}, which Weft does not do; "
                          f"it does {' and '.join(KINDS)}")
    rotary = read_rotary(foreign, foreign.need("head_dim"), foreign.need("max_position_embeddings"), base=BASES[kind],
                         values=both.get(NAMES[kind]) or {})
    if rotary.by_length and rotary.scaling is not None:
        raise ConfigError(f"the checkpoint's config.json has rope_type = {rotary.scaling.type!r}, which Weft does not do where "
                          f"layers differ")
    return rotary


def write_config(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.decoder
    assert isinstance(stack, c.TransformerStack) and isinstance(stack.position, c.Rotary)
    size = config.head_size(stack.attention)
    near, far = (rotary_keys(one, size) for one in (stack.local_position or stack.position, stack.position))
    both = {NAMES["global"]: far.pop("rope_parameters"), NAMES["local"]: near["rope_parameters"]}
    return {"model_type": "gemma3_text", **write_sandwich(config), **far, "rope_parameters": both,
            "rope_local_base_freq": near["rope_theta"]}


rules = llama.rules
