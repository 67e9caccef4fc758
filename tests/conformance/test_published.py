"""config.json files as their authors published them (published/OWNER--NAME.json), old keys and all: each is read, gives the
published number of parameters, is written and read again; and a small model of it computes what transformers does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import weft
from tests.conformance import checkpoints as hf
from weft.convert import foreign_config, import_checkpoint, read_config
from weft.errors import ConfigError
from weft.families.family import find_family
from weft.spec import config as c
from weft.spec.parameters import count

FOLDER = Path(__file__).parent / "published"
FILES = {path.stem.split("--")[1]: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
SIZES = {  # parameters, tied ones once; without a pooler that no head uses, with a bias of logits
    "ModernBERT-base": 149_655_232, "SmolLM2-135M": 134_515_008, "distilgpt2": 81_912_576, "bert-base-NER": 107_726_601,
    "bert-base-multilingual-cased": 177_974_523, "ms-marco-MiniLM-L-6-v2": 22_713_601, "gpt-j-6b": 6_050_882_784,
    "gpt-neo-125m": 125_198_592, "gpt-neox-20b": 20_554_567_680, "pythia-70m": 70_426_624, "roberta-base": 124_697_433,
    "xlm-roberta-base": 278_295_186, "opus-mt-en-de": 73_944_309, "Yarn-Llama-2-7b-64k": 6_738_415_616,
    "Qwen2-0.5B": 494_032_768, "Qwen3-0.6B": 596_049_920, "TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "starcoder2-3b": 3_030_371_328, "bloom-560m": 559_214_592, "deepseek-coder-1.3b-base": 1_346_471_936,
    "distilbert-base-uncased": 66_985_530, "distilbert-base-uncased-finetuned-sst-2-english": 66_955_010,
    "bart-base": 139_420_416, "bart-large-cnn": 406_340_696, "bart-large-mnli": 407_344_131, "galactica-125m": 125_030_400,
    "m2m100_418M": 483_905_536, "mbart-large-50": 611_129_542, "nllb-200-distilled-600M": 615_073_792,
    "opt-125m": 125_239_296, "opt-350m": 331_196_416, "opt-13b": 12_853_473_280, "electra-small-discriminator": 13_549_057,
    "electra-small-generator": 13_546_682, "flan-t5-small": 76_961_152, "gemma-2b": 2_506_172_416,
    "gemma-2-2b": 2_614_341_888, "gemma-3-1b-it": 999_885_952, "mt5-small": 300_176_768, "pegasus-xsum": 568_796_007,
    "bert-base-uncased": 109_514_298, "t5-small": 60_506_624, "llama-7b": 6_738_415_616, "Llama-2-7b-hf": 6_738_415_616,
    "Llama-3.2-1B": 1_235_814_400, "Phi-3-mini-4k-instruct": 3_821_079_552, "Phi-3-mini-128k-instruct": 3_821_079_552,
    "Phi-4-mini-instruct": 3_836_021_760, "phi-2": 2_779_683_840, "Mistral-7B-v0.1": 7_241_732_096,
    "Mistral-7B-v0.3": 7_248_023_552, "gpt2": 124_439_808, "openai-gpt": 116_534_784, "all-MiniLM-L6-v2": 22_565_376,
    "distilbart-cnn-12-6": 305_560_664, "stablelm-3b-4e1t": 2_795_443_200, "falcon-7b": 6_921_720_704,
    "falcon-11B": 11_102_822_400, "falcon-40b": 41_303_293_952, "falcon-rw-1b": 1_311_625_216,
}
REFUSED = [
    ("openai-gpt", "afn", "gelu_new"), ("gpt-j-6b", "rotary", False), ("gpt-j-6b", "rotary_dim", None),
    ("opt-125m", "layer_norm_elementwise_affine", False), ("galactica-125m", "scale_embeddings", True),
    ("bloom-560m", "slow_but_exact", True), ("bloom-560m", "n_inner", 64), ("falcon-40b", "parallel_attn", False),
    ("falcon-rw-1b", "num_kv_heads", 8), ("falcon-7b", "num_ln_in_parallel_attn", 2), ("phi-2", "hidden_act", "quick_gelu"),
    ("Phi-4-mini-instruct", "lm_head_bias", True), ("SmolLM2-135M", "rope_interleaved", True),
    ("Llama-3.2-1B", "rope_scaling.mrope_section", {"rope_type": "llama3", "mrope_section": [1, 2]}),
]

# ---------------------------------------------------------------- as published


def read(folder: Path, values: dict[str, Any]) -> c.ModelConfig:
    (folder / "config.json").write_text(json.dumps(values))
    return read_config(folder)[2]


def test_none_is_left_out() -> None:
    assert set(SIZES) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_read_and_written_again(tmp_path: Path, name: str) -> None:
    config = read(tmp_path, FILES[name])
    assert count(config) == SIZES[name]
    family = find_family(FILES[name]["model_type"])[1]
    written = foreign_config(family, config)
    if "t5" in FILES[name]["model_type"]:  # whose files tell whether the head is the embedding
        return
    assert read(tmp_path, written) == config
    named = {key.lower(): value for key, value in getattr(family, "SIZES", {}).items()}
    if name.lower() in named:
        stack: Any = config.decoder or config.encoder
        assert named[name.lower()][:3] == (stack.layers, config.width, stack.attention.heads)


@pytest.mark.parametrize(("name", "key", "value"), REFUSED)
def test_refused_by_name(tmp_path: Path, name: str, key: str, value: Any) -> None:
    table = key.split(".")[0]
    changed = {**FILES[name].get("rope_scaling", {}), **value} if "." in key else value
    with pytest.raises(ConfigError, match=key):
        read(tmp_path, {**FILES[name], table: changed})


def test_ignored_by_name(tmp_path: Path) -> None:
    values = {**FILES["Llama-3.2-1B"], "rope_scaling": {**FILES["Llama-3.2-1B"]["rope_scaling"], "mood": 1}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"does not know: rope_scaling\.mood = 1"):
        read_config(tmp_path)
    assert read_config(tmp_path, ["rope_scaling.mood"])[2] == read(tmp_path, FILES["Llama-3.2-1B"])


def test_several_labels_at_once_survive(tmp_path: Path) -> None:
    values = {**FILES["bloom-560m"], "architectures": ["BloomForSequenceClassification"],
              "problem_type": "multi_label_classification"}
    config = read(tmp_path, values)
    assert isinstance(config.head, c.ClassificationHead) and config.head.multi_label
    assert read(tmp_path, foreign_config(find_family("bloom")[1], config)) == config


# ---------------------------------------------------------------- small


VOCABULARY, WIDTH, HEADS = 61, 32, 4
SMALL = [
    (VOCABULARY, ("vocab_size", "decoder_vocab_size")),
    (WIDTH, ("d_model", "hidden_size", "n_embd", "n_embed", "dim")),
    (HEADS, ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads", "decoder_attention_heads")),
    (4, ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")),
    (40, ("d_ff", "intermediate_size", "ffn_dim", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size")),
    (42, ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_sequence_length")),
    (12, ("head_dim", "query_pre_attn_scalar")), (6, ("d_kv", "local_attention", "rotary_dim")), (16, ("embedding_size",)),
    (5, ("sliding_window", "window_size")), (9, ("original_max_position_embeddings",)), (2, ("sliding_window_pattern",)),
]
"""Small sizes, and the keys that have them."""
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0, "cls_token_id": 1,
           "sep_token_id": 2}


def small(values: dict[str, Any]) -> dict[str, Any]:
    """The same config with small sizes; what is equal, one, narrower or absent stays so."""
    found = dict(values)
    for size, keys in SMALL:
        found |= {key: size for key in keys if isinstance(values.get(key), int)}
    for key in ("num_key_value_heads", "num_kv_heads"):
        if key in values:
            found[key] = {1: 1, values["num_attention_heads"]: HEADS}.get(values[key], 2)
    if "word_embed_proj_dim" in values:
        found["word_embed_proj_dim"] = WIDTH if values["word_embed_proj_dim"] == values["hidden_size"] else 20
    if "attention_layers" in values:
        found |= {"attention_layers": ["global", "local"] * 2, "attention_types": [[["global", "local"], 2]]}
    if values.get("partial_rotary_factor") == 0.4:  # phi-2; of 8 channels that would be 3
        found["partial_rotary_factor"] = 0.5
    if values.get("rope_scaling"):
        pairs = int(found.get("head_dim", WIDTH // HEADS) * values.get("partial_rotary_factor", 1.0)) // 2
        found["rope_scaling"] = {key: value[:pairs] if isinstance(value, list) else 9 if key.startswith("original") else value
                                 for key, value in values["rope_scaling"].items()}
    for key, value in SPECIAL.items():
        if isinstance(values.get(key), int) and values[key] >= VOCABULARY:
            found[key] = value
    return found | ({"eos_token_id": [2, 3]} if isinstance(values.get("eos_token_id"), list) else {})


def oracle(folder: Path, values: dict[str, Any], *, untied: bool = False) -> Any:
    """A random model of that config, saved beside the config as it stands."""
    (folder / "config.json").write_text(json.dumps(values))
    architecture = values["architectures"][0].replace("BartModel", "BartForConditionalGeneration")
    hf.save_random(folder, hf.transformers.AutoConfig.from_pretrained(folder), architecture, untied=untied)
    (folder / "config.json").write_text(json.dumps(values))
    if values["architectures"] == ["BartModel"]:
        forget(folder, "final_logits_bias")
    return hf.reopened(folder, architecture)


def forget(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@torch.no_grad()
def compare(theirs: Any, ours: weft.Model) -> None:
    rng, config = np.random.default_rng(0), ours.config
    for length in (6, 17):
        row = hf.rows(rng, [length])[0]
        ids = torch.tensor([row])
        if isinstance(config.head, c.ClassificationHead):
            row = [*row, config.special.eos] if config.kind == "encoder-decoder" else row
            found, wanted = ours.runner.score([row])[0], theirs(torch.tensor([row])).logits[0]
        elif config.kind == "encoder-decoder":
            found, wanted = ours.logits([row], [row[:4]])[0], theirs(ids, decoder_input_ids=ids[:, :4]).logits[0]
        elif isinstance(config.head, c.EmbeddingHead):
            found, wanted = ours.runner.score([row])[0], theirs(ids).last_hidden_state[0].mean(0)
        else:
            found, wanted = ours.runner.score([row])[0], theirs(ids).logits[0]
        np.testing.assert_allclose(np.asarray(found).reshape(wanted.shape), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FILES)
def test_small_ones_compute_the_same(tmp_path: Path, name: str) -> None:
    theirs = oracle(tmp_path, small(FILES[name]))
    compare(theirs, weft.load(import_checkpoint(tmp_path, tmp_path / "weft").path, backend="torch"))


HEADLESS = ("BartModel", "BertModel", "Classification", "PreTraining", "T5")
SPEAKING = [name for name, values in FILES.items() if not any(part in values["architectures"][0] for part in HEADLESS)]


@pytest.mark.parametrize("name", SPEAKING)
def test_small_ones_with_the_head_tied_otherwise(tmp_path: Path, name: str) -> None:
    config = read(tmp_path, FILES[name])
    tied = config.embedding.sharing in ("all", "target")
    theirs = oracle(tmp_path, small(FILES[name]) | {"tie_word_embeddings": not tied}, untied=tied)
    ours = weft.load(import_checkpoint(tmp_path, tmp_path / "weft").path, backend="torch")
    assert (ours.config.embedding.sharing in ("all", "target")) != tied
    compare(theirs, ours)
