"""config.json files as published, old keys included: they are read, and give the published number of parameters. What a
family does not do is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weft.convert import foreign_config, read_config
from weft.errors import ConfigError
from weft.families.family import find_family
from weft.spec import config as c
from weft.spec.parameters import count

SUMMARY = {"summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
           "summary_type": "cls_index", "summary_use_proj": True}
FALCON = {"model_type": "falcon", "apply_residual_connection_post_layernorm": False, "vocab_size": 65024, "auto_map": {},
          "bos_token_id": 11, "eos_token_id": 11, "layer_norm_epsilon": 1e-5, "bias": False, "alibi": False}
PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "openai-gpt": (116_534_784, {
        "model_type": "openai-gpt", "afn": "gelu", "n_ctx": 512, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_special": 0,
        "n_positions": 512, "predict_special_tokens": True, "vocab_size": 40478, **SUMMARY}),
    "gpt-neo-125m": (125_198_592, {
        "model_type": "gpt_neo", "activation_function": "gelu_new", "attention_dropout": 0, "embed_dropout": 0,
        "attention_layers": ["global", "local"] * 6, "attention_types": [[["global", "local"], 6]], "hidden_size": 768,
        "intermediate_size": None, "num_heads": 12, "num_layers": 12, "resid_dropout": 0, "vocab_size": 50257,
        "window_size": 256, "max_position_embeddings": 2048, **SUMMARY}),
    "gpt-j-6b": (6_050_882_784, {
        "model_type": "gptj", "activation_function": "gelu_new", "n_embd": 4096, "n_head": 16, "n_inner": None,
        "n_layer": 28, "n_positions": 2048, "rotary": True, "rotary_dim": 64, "scale_attn_weights": True,
        "tie_word_embeddings": False, "vocab_size": 50400, "gradient_checkpointing": False, **SUMMARY}),
    "pythia-70m": (70_426_624, {
        "model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 512, "intermediate_size": 2048,
        "layer_norm_eps": 1e-5, "max_position_embeddings": 2048, "num_attention_heads": 8, "num_hidden_layers": 6,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True,
        "vocab_size": 50304}),
    "opt-125m": (125_239_296, {
        "model_type": "opt", "_remove_final_layer_norm": False, "activation_dropout": 0.0, "activation_function": "relu",
        "do_layer_norm_before": True, "ffn_dim": 3072, "hidden_size": 768, "init_std": 0.02, "layerdrop": 0.0,
        "max_position_embeddings": 2048, "num_attention_heads": 12, "num_hidden_layers": 12, "vocab_size": 50272,
        "word_embed_proj_dim": 768, "prefix": "</s>"}),
    "bloom-560m": (559_214_592, {
        "model_type": "bloom", "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "n_embed": 1024,
        "masked_softmax_fusion": True, "n_inner": None, "n_layer": 24, "num_attention_heads": 16, "offset_alibi": 100,
        "pretraining_tp": 1, "seq_length": 2048, "skip_bias_add": True, "skip_bias_add_qkv": False, "vocab_size": 250880,
        "pad_token_id": 3, "apply_residual_connection_post_layernorm": False}),
    "falcon-7b": (6_921_720_704, {
        **FALCON, "hidden_size": 4544, "multi_query": True, "new_decoder_architecture": False, "num_attention_heads": 71,
        "num_hidden_layers": 32, "parallel_attn": True}),
    "falcon-40b": (41_303_293_952, {
        **FALCON, "hidden_size": 8192, "new_decoder_architecture": True, "num_attention_heads": 128, "num_kv_heads": 8,
        "num_hidden_layers": 60, "parallel_attn": True}),
    "falcon-rw-1b": (1_311_625_216, {
        **FALCON, "alibi": True, "bias": True, "hidden_size": 2048, "multi_query": False, "num_attention_heads": 32,
        "num_hidden_layers": 24, "parallel_attn": False, "new_decoder_architecture": False, "vocab_size": 50304}),
    "phi-2": (2_779_683_840, {
        "model_type": "phi", "hidden_act": "gelu_new", "hidden_size": 2560, "intermediate_size": 10240,
        "layer_norm_eps": 1e-5, "max_position_embeddings": 2048, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "qk_layernorm": False, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 51200}),
}
REFUSED = [("openai-gpt", "afn", "gelu_new"), ("gpt-j-6b", "rotary", False), ("gpt-j-6b", "rotary_dim", None),
           ("opt-125m", "layer_norm_elementwise_affine", False),
           ("opt-125m", "scale_embeddings", True), ("bloom-560m", "slow_but_exact", True),
           ("bloom-560m", "n_inner", 64), ("falcon-40b", "parallel_attn", False), ("falcon-rw-1b", "num_kv_heads", 8),
           ("falcon-7b", "num_ln_in_parallel_attn", 2), ("phi-2", "hidden_act", "quick_gelu")]


def read(folder: Path, values: dict[str, Any]) -> c.ModelConfig:
    (folder / "config.json").write_text(json.dumps(values))
    return read_config(folder)[2]


@pytest.mark.parametrize("name", PUBLISHED)
def test_read_and_written_again(tmp_path: Path, name: str) -> None:
    size, values = PUBLISHED[name]
    config = read(tmp_path, values)
    assert count(config) == size
    family = find_family(values["model_type"])[1]
    assert read(tmp_path, foreign_config(family, config)) == config
    published = family.SIZES[name]  # type: ignore[attr-defined]
    assert published[:2] == (config.decoder.layers, config.width)  # type: ignore[union-attr]
    assert published[2] == config.decoder.attention.heads  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "key", "value"), REFUSED)
def test_refused_by_name(tmp_path: Path, name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        read(tmp_path, {**PUBLISHED[name][1], key: value})


def test_several_labels_at_once_survive(tmp_path: Path) -> None:
    values = {**PUBLISHED["bloom-560m"][1], "architectures": ["BloomForSequenceClassification"],
              "problem_type": "multi_label_classification"}
    config = read(tmp_path, values)
    assert isinstance(config.head, c.ClassificationHead) and config.head.multi_label
    assert read(tmp_path, foreign_config(find_family("bloom")[1], config)) == config
