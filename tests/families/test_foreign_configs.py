"""config.json files as the hub has them, with keys that transformers itself no longer writes, and what is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.bundles import values
from weft.convert import foreign_config
from weft.errors import WeftError
from weft.families.family import families, find_family
from weft.families.foreign import ForeignConfig
from weft.spec import config as c

USUAL = {"torch_dtype": "bfloat16", "use_cache": True, "initializer_range": 0.02, "attention_dropout": 0.0,
         "rms_norm_eps": 1e-6, "rope_theta": 10000.0}
GEMMA = {**USUAL, "attention_bias": False, "bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0, "head_dim": 256,
         "hidden_size": 1152, "intermediate_size": 6912, "max_position_embeddings": 8192, "num_attention_heads": 4,
         "num_hidden_layers": 26, "num_key_value_heads": 1, "vocab_size": 262144}
FILES: dict[str, dict[str, Any]] = {
    "mistral": {**USUAL, "model_type": "mistral", "num_hidden_layers": 32, "sliding_window": None},
    "qwen2": {**USUAL, "model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2,
              "num_hidden_layers": 24, "max_window_layers": 21, "sliding_window": 32768, "use_sliding_window": False,
              "use_mrope": False, "bos_token_id": 151643, "eos_token_id": 151645, "tie_word_embeddings": True},
    "gemma": {**GEMMA, "model_type": "gemma", "hidden_act": "gelu", "hidden_activation": None, "rope_scaling": None},
    "gemma2": {**GEMMA, "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
               "sliding_window": 4096, "sliding_window_size": 4096, "query_pre_attn_scalar": 144,
               "cache_implementation": "hybrid"},
    "gemma3": {**GEMMA, "model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 10000, "sliding_window": 512,
               "sliding_window_pattern": 6, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
               "cache_implementation": "hybrid"},
    "phi3": {**USUAL, "model_type": "phi3", "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "resid_pdrop": 0.0,
             "embd_pdrop": 0.0, "attention_bias": False, "sliding_window": 2047, "rope_scaling": None,
             "original_max_position_embeddings": 4096},
}


def read(name: str, **changes: Any) -> c.ModelConfig:
    foreign = ForeignConfig({**FILES[name], **changes})
    _, family = find_family(foreign.values["model_type"])
    config = family.read_config(foreign, "language_model")
    foreign.refuse_unread(getattr(family, "IGNORED", ()))
    return config


def decoder(config: c.ModelConfig) -> c.TransformerStack:
    assert isinstance(config.decoder, c.TransformerStack)
    return config.decoder


def test_null_says_none_and_a_missing_key_says_the_default() -> None:
    assert decoder(read("mistral")).attention.window is None
    values = {key: value for key, value in FILES["mistral"].items() if key != "sliding_window"}
    config = find_family("mistral")[1].read_config(ForeignConfig(values), "language_model")
    assert decoder(config).attention.window == 4096


def test_older_keys_are_read() -> None:
    assert decoder(read("qwen2")).attention.window is None and decoder(read("qwen2")).pattern == ()
    assert decoder(read("gemma")).feed_forward.activation == "gelu_tanh"
    assert decoder(read("gemma2")).pattern == ("local", "global")
    assert decoder(read("gemma2")).attention.scale == pytest.approx(1 / 12)
    assert read("gemma2").special.eos == 1
    assert decoder(read("phi3")).attention.window == 2047
    stack = decoder(read("gemma3"))
    assert stack.pattern == ("local",) * 5 + ("global",)
    assert stack.position == c.Rotary(1e6, scaling=c.LinearScaling(8.0)) and stack.local_position == c.Rotary(1e4)


@pytest.mark.parametrize("kind", ["su", "yarn", "longrope"])
def test_first_names_of_longrope(kind: str) -> None:
    """Phi-3's own code called it su, then yarn, then longrope."""
    factors = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    config = read("phi3", max_position_embeddings=131072, rope_scaling={"type": kind, **factors})
    position = decoder(config).position
    assert isinstance(position, c.Rotary) and position.scaling == c.LongRopeScaling(
        (1.0,) * 48, (2.0,) * 48, 4096, pytest.approx((1 + math.log(32) / math.log(4096)) ** 0.5))
    assert config.window.target == 131072


@pytest.mark.parametrize(("name", "changes", "named"), [
    ("mistral", {"layer_types": ["full_attention"] * 32}, "layer_types"),
    ("mistral", {"attention_bias": True}, "attention_bias"),
    ("qwen2", {"use_mrope": True}, "use_mrope"),
    ("qwen2", {"layer_types": ["sliding_attention"] * 24}, "sliding_window"),
    ("qwen2", {"layer_types": ["full_attention"]}, "1 layer_types"),
    ("qwen2", {"layer_types": ["linear_attention"] * 24}, "linear_attention"),
    ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma", {"hidden_activation": "silu"}, "hidden_activation"),
    ("gemma2", {"sliding_window_size": 8}, "sliding_window_size"),
    ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
    ("gemma3", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
    ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}},
     "decoder.position.scaling.short and long must be 48 numbers above 0 each, one for every pair of channels that turn"),
    ("phi3", {"rope_scaling": {"type": "su", "long_factor": [1.0]}}, "type 'longrope' without short_factor"),
    ("phi3", {"rope_scaling": {"type": "su", "long_factor": 2.0, "short_factor": [1.0]}},
     "long_factor = 2.0; it must be a list of numbers"),
    ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
    ("phi3", {"attention_bias": True}, "attention_bias")])
def test_what_weft_does_not_do_is_refused_by_name(name: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(WeftError, match=named):
        read(name, **changes)


CLASSIFIERS = [name for name, family in families() if "classification" in family.ARCHITECTURES.values()]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_several_labels_at_once_come_in_and_go_out(name: str) -> None:
    family = dict(families())[name]
    foreign = values(name, "classification", problem_type="multi_label_classification", id2label={"0": "a", "1": "b"})
    config = family.read_config(ForeignConfig(foreign), "classification")
    assert isinstance(config.head, c.ClassificationHead) and config.head.multi_label and config.head.labels == ("a", "b")
    assert foreign_config(family, config)["problem_type"] == "multi_label_classification"
