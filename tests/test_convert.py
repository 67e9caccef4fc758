"""Bad checkpoints and bundles that cannot leave: every one is refused in words, and nothing half-made stays behind."""

from __future__ import annotations

import builtins
import copy
import json
import os
import shutil
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bundles import FAMILIES, bundle, checkpoint, edit, tokenizer, values
from weft.bundle import open_bundle
from weft.convert import export_bundle, find_checkpoint, foreign_config, import_checkpoint, read_config
from weft.errors import BundleError, ConfigError, TokenizerError, UnknownNameError, UsageError, WeftError
from weft.spec.parameters import parameters
from weft.tensors import Stored, read_file, write_file


@pytest.fixture(scope="module", name="originals")
def _originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = checkpoint(tmp_path_factory.mktemp(name), name)
        return made[name]

    return of


@pytest.fixture(name="gpt2")
def _gpt2(tmp_path: Path, originals: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(originals("gpt2"), tmp_path / "hf"))


def refused(folder: Path, kind: type[WeftError] = ConfigError, **options: Any) -> str:
    out = folder.parent / "refused"
    with pytest.raises(kind) as error:
        import_checkpoint(folder, out, **options)
    assert not (out / "manifest.json").exists()
    return str(error.value)


# ---------------------------------------------------------------- config.json


@pytest.mark.parametrize(("changes", "kind", "message"), [
    ({"model_type": "gpt22"}, UnknownNameError, "unknown model_type 'gpt22'. Did you mean 'gpt2'? Known: "),
    ({"model_type": "gemma3"}, ConfigError, "is of gemma3, which reads more than text, but text_config, which tells of the "
     "part that reads text, is None"),
    ({"model_type": ...}, ConfigError, "names no model_type; it is no Hugging Face checkpoint"),
    ({"model_type": ["gpt2"]}, ConfigError, "names no model_type"),
    ({"architectures": ["GPT2DoubleHeadsModel"]}, UnknownNameError,
     "unknown architecture of gpt2 'GPT2DoubleHeadsModel'. Did you mean 'GPT2LMHeadModel'?"),
    ({"architectures": "GPT2LMHeadModel"}, ConfigError, "has architectures = 'GPT2LMHeadModel'; it must be a list of names"),
    ({"architectures": [None]}, UnknownNameError, "unknown architecture of gpt2 'None'"),
    ({"n_embd": "24"}, ConfigError, "has n_embd = '24'; it must be a whole number"),
    ({"n_embd": 24.0}, ConfigError, "has n_embd = 24.0; it must be a whole number"),
    ({"n_embd": True}, ConfigError, "has n_embd = True; it must be a whole number"),
    ({"n_embd": -24}, ConfigError, "has n_embd = -24; it must be 1 to 2,147,483,647"),
    ({"n_layer": 0}, ConfigError, "has n_layer = 0; it must be 1 to 2,000"),
    ({"n_layer": 10**12}, ConfigError, "has n_layer = 1000000000000; it must be 1 to 2,000"),
    ({"n_head": 5}, ConfigError, "width 24 is no multiple of decoder.attention.heads 5"),
    ({"n_head": 0}, ConfigError, "has n_head = 0; it must be 1 to 2,147,483,647"),
    ({"layer_norm_epsilon": "1e-5"}, ConfigError, "has layer_norm_epsilon = '1e-5'; it must be a number"),
    ({"layer_norm_epsilon": float("nan")}, ConfigError, "has layer_norm_epsilon = nan; it must be a finite number"),
    ({"tie_word_embeddings": "yes"}, ConfigError, "has tie_word_embeddings = 'yes'; it must be true or false"),
    ({"activation_function": "mish"}, ConfigError, "has activation_function = 'mish'; Weft knows relu, gelu"),
    ({"activation_function": ["relu"]}, ConfigError, "has activation_function = ['relu']; it must be a text"),
    ({"scale_attn_by_inverse_layer_idx": True}, ConfigError, "has scale_attn_by_inverse_layer_idx = True, which Weft does not"),
    ({"add_cross_attention": True}, ConfigError, "has add_cross_attention = True, which Weft does not do; it does False"),
    ({"logit_temper": 2.0}, ConfigError, "has keys that Weft does not know: logit_temper = 2.0. They may change what"),
    ({"id2label": ["a"], "architectures": ["GPT2ForSequenceClassification"]}, ConfigError, "id2label = ['a']; it must be a ta"),
    ({"num_labels": 10**9, "architectures": ["GPT2ForSequenceClassification"]}, ConfigError, "num_labels = 1,000,000,000"),
])
def test_configs_that_are_refused(gpt2: Path, changes: dict[str, Any], kind: type[WeftError], message: str) -> None:
    edit(gpt2 / "config.json", **changes)
    assert message in refused(gpt2, kind)


@pytest.mark.parametrize(("content", "kind", "message"), [
    (b"{", BundleError, "config.json is not JSON"),
    (b"[" * 100_000, BundleError, "config.json is not JSON"),
    (b"\xff\xfe{}", BundleError, "config.json is not UTF-8"),
    (b"[]", ConfigError, "config.json holds a list; a Hugging Face checkpoint has a table of keys there"),
    (b"null", ConfigError, "config.json holds a NoneType"),
    (b'{"n_embd": 1%s}' % (b"0" * 5000), BundleError, "config.json is not JSON"),
])
def test_what_is_no_config(gpt2: Path, content: bytes, kind: type[WeftError], message: str) -> None:
    (gpt2 / "config.json").write_bytes(content)
    assert message in refused(gpt2, kind)


def test_unknown_keys_pass_by_name_and_harmless_ones_pass(gpt2: Path, tmp_path: Path) -> None:
    edit(gpt2 / "config.json", logit_temper=2.0, use_cache=False, transformers_version="4.1", n_ctx=1024, odd=None)
    assert "logit_temper" in refused(gpt2) and "odd" not in refused(gpt2)
    assert import_checkpoint(gpt2, tmp_path / "weft", ignore_keys=["logit_temper"]).family == "gpt2"


@pytest.mark.parametrize(("changes", "message"), [
    ({"rope_scaling": {"rope_type": "linear"}}, "has rotary positions of type 'linear' without factor"),
    ({"rope_scaling": {"rope_type": "linear", "factor": "8"}}, "with factor = '8'; it must be a number above 0"),
    ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "with factor = 0; it must be a number above 0"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "of type 'llama3' without low_freq_factor, high_freq_factor"),
    ({"rope_scaling": {"rope_type": {}, "factor": 8.0}}, "unknown kind of rotary scaling '{}'"),
    ({"rope_scaling": 8}, "has rope_scaling = 8; it must be a table"),
    ({"rope_theta": 0.0}, "decoder.position.base is 0.0; it must be above 1"),
    ({"partial_rotary_factor": 0.01}, "decoder.position.dimension is 0; it must be 2 or more"),
    ({"head_dim": 7}, "rotary positions turn an even number of channels, not 7"),
    ({"num_key_value_heads": 3}, "decoder.attention.heads 4 is no multiple of key_value_heads 3"),
])
def test_rotary_positions_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values("llama", **changes)))
    with pytest.raises(WeftError) as error:
        read_config(tmp_path)
    assert message in str(error.value)


ODD = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**31, 2**63, 10**30, -(10**30), 10**400]),
                st.floats(), st.text(max_size=3), st.lists(st.integers(-1, 9), max_size=2),
                st.dictionaries(st.sampled_from(["rope_type", "factor", "0", "full_attention"]),
                                st.one_of(st.none(), st.integers(-1, 3), st.text(max_size=2), st.just("yarn"),
                                          st.dictionaries(st.just("factor"), st.integers(), max_size=1)), max_size=2))
SHARED = ("architectures", "id2label", "num_labels", "problem_type", "eos_token_id", "tie_word_embeddings", "rope_parameters",
          "rope_scaling", "rope_theta", "layer_types", "sliding_window", "head_dim", "partial_rotary_factor", "attention_types",
          "decoder_start_token_id", "sliding_window_pattern", "is_decoder", "max_position_embeddings", "pad_token_id")


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_any_value_may_stand_in_a_config(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    """A config comes out, whose parameters can be listed, or a WeftError."""
    found = copy.deepcopy(values(name, data.draw(st.sampled_from(sorted(set(FAMILIES[name].ARCHITECTURES.values()))))))
    keys = st.sampled_from(sorted({*found, *SHARED} - {"model_type"}))
    for key in data.draw(st.lists(keys, min_size=1, max_size=3)):
        found[key] = data.draw(ODD)
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(found))
    try:
        _, family, config = read_config(folder)
    except WeftError as error:
        assert str(error)
        return
    table = parameters(config)
    assert all(size >= 1 for row in table.values() for size in row.shape)
    assert {name for rule in family.rules(config) for name in rule.ours} <= set(table)


# ---------------------------------------------------------------- weights


def rewrite(folder: Path, change: Callable[[dict[str, Stored]], Mapping[str, Stored] | None]) -> None:
    tensors = read_file(folder / "model.safetensors")
    write_file(folder / "model.safetensors", change(tensors) or tensors)


def test_every_tensor_that_is_wrong_is_listed(gpt2: Path) -> None:
    def change(tensors: dict[str, Stored]) -> None:
        del tensors["transformer.h.0.ln_1.weight"]
        tensors["transformer.h.2.ln_1.weight"] = Stored(np.zeros(24, "<f4"), "F32")
        tensors["transformer.ln_f.bias"] = Stored(np.zeros(25, "<f4"), "F32")
        tensors["transformer.h.1.attn.c_attn.weight"] = Stored(np.zeros((72, 24), "<f4"), "F32")
        tensors["transformer.h.1.attn.c_attn.bias"] = Stored(np.zeros((), "<f4"), "F32")

    rewrite(gpt2, change)
    message = refused(gpt2, BundleError)
    for fault in ("transformer.h.0.ln_1.weight is missing", "transformer.h.2.ln_1.weight [24] is not in the model",
                  "transformer.ln_f.bias has shape [25], config.json says [24]",
                  "transformer.h.1.attn.c_attn.weight has shape [72, 24], config.json says [24, 72]",
                  "transformer.h.1.attn.c_attn.bias has shape [], config.json says [72]"):
        assert fault in message


def test_a_config_of_a_huge_model_takes_no_memory_to_refuse(gpt2: Path) -> None:
    edit(gpt2 / "config.json", n_embd=4_000_000, n_inner=2**31 - 1)
    message = refused(gpt2, BundleError)
    assert "transformer.wte.weight has shape [61, 24], config.json says [61, 4000000]" in message
    assert "h.0.attn.c_attn.weight has shape [24, 72], config.json says that it gives [4000000, 4000000] and" in message
    assert "h.1.mlp.c_proj.bias has shape [24], config.json says [4000000]" in message and " more" not in message


def test_weights_that_are_no_numbers(gpt2: Path, tmp_path: Path) -> None:
    whole = read_file(gpt2 / "model.safetensors")
    for kind in ("F32", "F16", "BF16"):
        for value, refuses in ((np.nan, True), (-np.nan, True), (np.inf, False), (-np.inf, False)):
            bits = whole["transformer.h.1.ln_1.bias"].wide()
            bits[-1] = value
            stored = {"F32": bits, "F16": bits.astype("<f2"), "BF16": (bits.view("<u4") >> 16).astype("<u2")}[kind]
            changed = {"transformer.h.1.ln_1.bias": Stored(stored, kind)}
            rewrite(gpt2, lambda tensors, changed=changed: tensors | changed)
            if refuses:
                message = refused(gpt2, BundleError)
                assert "transformer.h.1.ln_1.bias holds values that are no numbers (NaN)" in message
            else:
                import_checkpoint(gpt2, tmp_path / f"{kind}{value}")


def test_a_copy_that_differs_from_what_it_is_tied_to(gpt2: Path) -> None:
    def change(tensors: dict[str, Stored]) -> None:
        tensors["lm_head.weight"] = Stored(tensors["transformer.wte.weight"].bits + np.float32(1), "F32")

    rewrite(gpt2, change)
    message = refused(gpt2, BundleError)
    assert "lm_head.weight differs from transformer.wte.weight, which config.json says it is tied to" in message


def test_numbers_that_are_no_weights(tmp_path: Path, originals: Callable[[str], Path]) -> None:
    """A dropped tensor may be of any kind, as the position ids of older BERT files; a weight may not."""
    folder = Path(shutil.copytree(originals("bert"), tmp_path / "hf"))
    path = folder / "model.safetensors"

    def with_entry(name: str, kind: str, shape: list[int], size: int) -> None:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        head = json.dumps(header).encode()
        path.unlink()
        path.write_bytes(len(head).to_bytes(8, "little") + head + data + bytes(size))

    with_entry("bert.embeddings.position_ids", "I64", [1, 40], 320)
    assert ("bert.embeddings.position_ids", "the numbers 0, 1, 2, ...") in import_checkpoint(folder, tmp_path / "a").dropped
    shutil.copy(originals("bert") / path.name, path)
    bias = "bert.embeddings.LayerNorm.bias"
    rewrite(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != bias})
    with_entry(bias, "F8_E4M3", [24], 24)
    assert f"{bias} is stored as F8_E4M3, not as float32, float16, bfloat16" in refused(folder, BundleError)


def test_a_norm_by_both_of_its_names(tmp_path: Path, originals: Callable[[str], Path]) -> None:
    folder = Path(shutil.copytree(originals("bert"), tmp_path / "hf"))
    name = "bert.embeddings.LayerNorm"
    rewrite(folder, lambda tensors: tensors | {f"{name}.gamma": tensors[f"{name}.weight"]})
    assert f"has {name}.weight twice, once by its old name" in refused(folder, BundleError)


def test_pickles_are_not_opened(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (gpt2 / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(gpt2, BundleError)
    opened = builtins.open

    def guarded(file: Any, *arguments: Any, **options: Any) -> Any:
        assert not str(file).endswith((".bin", ".pt"))
        return opened(file, *arguments, **options)

    for name in ("pytorch_model.bin", "consolidated.00.pt"):
        (gpt2 / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/weft-was-here'\ntR.")
    monkeypatch.setattr("builtins.open", guarded)
    message = refused(gpt2, BundleError)
    assert "consolidated.00.pt" in message and "pytorch_model.bin" in message
    assert "which Weft does not open: such files can run code" in message and "safe_serialization=True" in message


# ---------------------------------------------------------------- several files


@pytest.fixture(name="shards")
def _shards(gpt2: Path) -> Path:
    tensors = read_file(gpt2 / "model.safetensors")
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, kept in parts.items():
        write_file(gpt2 / part, {name: tensors[name] for name in kept})
    (gpt2 / "model.safetensors").unlink()
    index = {"weight_map": {name: part for part, kept in parts.items() for name in kept}}
    (gpt2 / "model.safetensors.index.json").write_text(json.dumps(index))
    return gpt2


def test_shards_that_do_not_fit_their_index(shards: Path, tmp_path: Path) -> None:
    index = shards / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    assert import_checkpoint(shards, tmp_path / "sound").family == "gpt2"
    shutil.copy(shards / "a.safetensors", tmp_path / "outside.safetensors")
    for bad in ("c.safetensors", "../outside.safetensors", str(tmp_path / "outside.safetensors"), "..", "", 7, None, ["a"]):
        index.write_text(json.dumps({"weight_map": names | {"x": bad}}))
        assert f"names files that are not in {shards}: {bad}" in refused(shards, BundleError)
    index.write_text(json.dumps({"weight_map": names | {"x": "a.safetensors"}}))
    assert "the index names tensors that are in no file: x. The files are not those of" in refused(shards, BundleError)
    for damaged in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'):
        index.write_text(damaged)
        assert "has no weight_map; the file is damaged" in refused(shards, BundleError)
    index.write_text("{")
    assert "index.json is not JSON" in refused(shards, BundleError)
    shutil.copy(shards / "a.safetensors", shards / "b.safetensors")
    index.write_text(json.dumps({"weight_map": names}))
    message = refused(shards, BundleError)
    assert "transformer.h.0.attn.c_attn.bias" in message and "come in b.safetensors and in another file too" in message


# ---------------------------------------------------------------- tokenizers and defaults


def test_tokenizers_that_do_not_fit(gpt2: Path) -> None:
    many = tokenizer(words=62)
    (gpt2 / "tokenizer.json").write_text(many.to_json())
    assert "the tokenizer's ids need 62 rows, the model's embedding (vocab_size) has 61" in refused(gpt2)
    gaps = json.loads(tokenizer().to_json())
    gaps["model"]["vocab"]["far"] = 900
    (gpt2 / "tokenizer.json").write_text(json.dumps(gaps))
    assert "the tokenizer's ids need 901 rows" in refused(gpt2)
    (gpt2 / "tokenizer.json").write_text("{}")
    assert "cannot read the tokenizer" in refused(gpt2, TokenizerError)
    (gpt2 / "tokenizer.json").unlink()
    assert "has no tokenizer; looked for tokenizer.json, vocab.json with merges.txt" in refused(gpt2, TokenizerError)


@pytest.mark.parametrize(("content", "message"), [
    ("[]", "generation_config.json holds a list; it must be a table of keys"),
    ('{"num_beams": 1000}', "beams is 1000; it must be 1 to 64"),
    ('{"num_beams": "4"}', "beams is '4', a str; expected int"),
    ('{"num_beams": 4, "length_penalty": 90}', "length_penalty is 90.0; it must be -5 to 5"),
])
def test_defaults_that_no_bundle_could_have(gpt2: Path, content: str, message: str) -> None:
    (gpt2 / "generation_config.json").write_text(content)
    found = refused(gpt2)
    assert message in found and "generation_config.json" in found


def test_defaults_come_along(gpt2: Path, tmp_path: Path) -> None:
    (gpt2 / "generation_config.json").write_text('{"num_beams": 4, "length_penalty": 2, "max_length": 5}')
    found = open_bundle(import_checkpoint(gpt2, tmp_path / "weft").path).generation
    assert found == {"beams": 4, "length_penalty": 2.0, "length_formula": "average"}


# ---------------------------------------------------------------- folders and the hub


def test_decoding_that_weft_does_not_do_is_named(gpt2: Path, tmp_path: Path) -> None:
    (gpt2 / "generation_config.json").write_text(json.dumps({
        "begin_suppress_tokens": [5], "guidance_scale": 1.0, "penalty_alpha": 0.6, "min_length": 9,
        "forced_eos_token_id": [1, 2], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": None}))
    imported = import_checkpoint(gpt2, tmp_path / "bundle")
    named = dict(imported.dropped)
    assert {"begin_suppress_tokens", "penalty_alpha", "min_length", "forced_eos_token_id"} <= set(named)
    assert "guidance_scale" not in named
    assert "generation_config.json has [5], which Weft's decoding does not do" in named["begin_suppress_tokens"]
    assert named["do_sample"].endswith("Weft is greedy unless asked: --sample --temperature 0.6 --top-p 0.9")
    assert open_bundle(imported.path).generation == {"beams": 1}
    card = open_bundle(imported.path).card
    assert "--sample --temperature 0.6 --top-p 0.9" in card and "`beams = 1`" in card


EVERYTHING = {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3,
              "encoder_no_repeat_ngram_size": 4, "repetition_penalty": 1.2, "encoder_repetition_penalty": 1.1,
              "forced_bos_token_id": 6, "forced_eos_token_id": 2, "suppress_tokens": [7, 8], "bad_words_ids": [[9, 10]],
              "min_new_tokens": 3, "num_beam_groups": 2, "diversity_penalty": 0.5, "eos_token_id": [2, 11],
              "stop_strings": ["w5 w6"]}


def test_defaults_go_out_as_they_came_in(originals: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(originals("bart"), tmp_path / "hf"))
    (folder / "generation_config.json").write_text(json.dumps(EVERYTHING))
    imported = import_checkpoint(folder, tmp_path / "bundle")
    assert not imported.dropped
    found = open_bundle(imported.path).generation
    assert found["eos"] == [11] and found["banned"] == [7, 8] and found["banned_words"] == [[9, 10]]
    assert (found["early_stopping"], found["length_formula"], found["beam_scores"]) == ("first", "average", "raw")
    out = export_bundle(open_bundle(imported.path), tmp_path / "again")
    written = json.loads((out / "generation_config.json").read_text())
    assert {key: written.get(key) for key in EVERYTHING} == EVERYTHING


def test_bad_words_of_one_token_are_bans(gpt2: Path, tmp_path: Path) -> None:
    """As OPUS-MT forbids its padding, without a rule that would cost time; the end is left out, as transformers does."""
    (gpt2 / "generation_config.json").write_text(json.dumps({"bad_words_ids": [[0], [2]], "suppress_tokens": [5]}))
    assert open_bundle(import_checkpoint(gpt2, tmp_path / "weft").path).generation == {"beams": 1, "banned": [0, 5]}


def test_defaults_of_a_checkpoint_without_generation_config(gpt2: Path, tmp_path: Path) -> None:
    (gpt2 / "generation_config.json").unlink(missing_ok=True)
    edit(gpt2 / "config.json", num_beams=3, no_repeat_ngram_size=2, eos_token_id=[2, 5])
    found = open_bundle(import_checkpoint(gpt2, tmp_path / "weft").path).generation
    assert (found["beams"], found["no_repeat_ngram"], found["eos"]) == (3, 2, [5])


def test_what_is_no_checkpoint(tmp_path: Path, gpt2: Path) -> None:
    for source, message in ((tmp_path, "is no Hugging Face checkpoint: it lacks config.json"),
                            (gpt2 / "config.json", "is a file; a Hugging Face checkpoint is a folder"),
                            ("nowhere", "no folder nowhere, and a hub id has the form owner/name; the current folder is"),
                            ("./a/b", "no folder ./a/b, and a hub id")):
        with pytest.raises(BundleError) as error:
            find_checkpoint(str(source))
        assert message in str(error.value)


def test_hub_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"no folder some/model; to fetch it from the hub: pip install 'weft\[hub\]'"):
        find_checkpoint("some/model")

    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("Name or service not known")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=offline))
    with pytest.raises(BundleError) as error:
        find_checkpoint("some/model")
    assert "no folder some/model, and it cannot be fetched from the hub: Name or service not known" in str(error.value)
    assert "Is the machine online, the name right, and access granted?" in str(error.value)


def test_a_hub_id_is_fetched_without_what_is_not_read(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import filter_repo_objects

    def fetch(source: str, **patterns: Any) -> str:
        there = [*(path.name for path in gpt2.iterdir()), "consolidated.safetensors", "original/params.json",
                 "pytorch_model.bin", "model.fp16.safetensors", "1_Pooling/config.json",
                 "model-00001-of-00002.safetensors", "source.spm"]
        fetched = set(filter_repo_objects(there, **patterns))
        assert source == "some/model" and set(there) - fetched == {
            "consolidated.safetensors", "original/params.json", "pytorch_model.bin", "model.fp16.safetensors"}
        return str(gpt2)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert import_checkpoint("some/model", gpt2.parent / "weft").family == "gpt2"
    (gpt2 / "model.safetensors").unlink()
    assert "If the original has pickle weights (.bin) only" in refused(gpt2, BundleError)


def test_the_checkpoint_itself_is_not_written_over(gpt2: Path) -> None:
    before = (gpt2 / "config.json").read_bytes()
    with pytest.raises(UsageError, match=r"is the checkpoint itself, whose config.json would be lost; choose another folder"):
        import_checkpoint(gpt2, gpt2)
    assert (gpt2 / "config.json").read_bytes() == before


@pytest.mark.parametrize("writes", [1, 2, 6])
def test_a_full_disk_leaves_nothing_half_made(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Neither where nothing was, nor where there is a bundle or checkpoint already."""
    whole = import_checkpoint(gpt2, tmp_path / "whole").path
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    edit(gpt2 / "config.json", architectures=["GPT2LMHeadModel"], layer_norm_epsilon=1e-3)
    left, flush = [writes], os.fsync

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(28, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr("os.fsync", full)
    for out in (tmp_path / "new", whole):
        left[0] = writes
        with pytest.raises(BundleError, match=r"cannot write the bundle .*: No space left on device"):
            import_checkpoint(gpt2, out)
    assert not list((tmp_path / "new").iterdir())
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before
    left[0] = min(writes, 4)
    with pytest.raises(BundleError, match=r"cannot write .*: No space left on device"):
        export_bundle(open_bundle(whole), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


# ---------------------------------------------------------------- out


def test_exports_that_are_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    trained = open_bundle(tiny_bundle)
    with pytest.raises(UsageError, match=r"was trained by Weft, so say in which family's format to write it: --family"):
        export_bundle(trained, tmp_path / "out")
    with pytest.raises(UnknownNameError, match=r"unknown family 'lama'. Did you mean 'llama'\? Known: bart, bert"):
        export_bundle(trained, tmp_path / "out", "lama")
    made = open_bundle(bundle(tmp_path / "gpt2", "gpt2"))
    with pytest.raises(UsageError, match=r"the format of bert is for other models than this one, which is decoder-only"):
        export_bundle(made, tmp_path / "out", "bert")
    with pytest.raises(UsageError, match=r"the format of openai-gpt cannot say all of this model: .*decoder.placement would be "
                                         r"'post', not 'pre'"):
        export_bundle(made, tmp_path / "out", "openai_gpt")
    classifier = open_bundle(bundle(tmp_path / "classifier", "bert", "classification"))
    with pytest.raises(UsageError, match="the format of marian has no classification head; it has language_model"):
        export_bundle(classifier, tmp_path / "out", "marian")
    with pytest.raises(UsageError, match="the format of bart is for other models than this one, which is encoder-only"):
        export_bundle(classifier, tmp_path / "out", "bart")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"is the bundle itself, whose config.json and tokenizer.json would be lost"):
        export_bundle(made, made.path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has model.safetensors.index.json of another checkpoint"):
        export_bundle(made, tmp_path / "old")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_one_family_in_the_format_of_any_other(tmp_path: Path, name: str) -> None:
    """It is said whole, or refused."""
    config = open_bundle(bundle(tmp_path / "m", name)).config
    for family in FAMILIES.values():
        try:
            said = foreign_config(family, config)
        except UsageError as error:
            assert "the format of " in str(error)
        else:
            json.dumps(said, allow_nan=False)


def test_special_ids_without_a_token_are_not_named(tmp_path: Path) -> None:
    out = checkpoint(tmp_path, "gpt2", pad_token_id=60)
    named = json.loads((out / "tokenizer_config.json").read_text())
    assert "pad_token" not in named and named["eos_token"] == "</s>"
