"""A foreign config.json, read key by key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from weft.errors import ConfigError
from weft.spec import config as c

HARMLESS = frozenset("""
    _name_or_path _commit_hash _attn_implementation _attn_implementation_autoset architectures attn_implementation
    bad_words_ids begin_suppress_tokens chunk_size_feed_forward cross_attention_hidden_size custom_pipelines
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty finetuning_task force_bos_token_to_be_generated gradient_checkpointing id2label
    initializer_range is_decoder is_encoder_decoder label2id length_penalty max_length min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states output_past
    output_scores prefix problem_type pruned_heads remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16
    use_cache bos_token_id eos_token_id pad_token_id unk_token_id forced_bos_token_id forced_eos_token_id
    attention_dropout attention_probs_dropout_prob hidden_dropout_prob hidden_dropout dropout activation_dropout
    resid_pdrop embd_pdrop attn_pdrop classifier_dropout embed_dropout resid_dropout embedding_dropout dropout_rate
    mlp_dropout pretraining_tp auto_map init_std _num_labels directionality pooler_fc_size pooler_num_attention_heads
    pooler_num_fc_layers pooler_size_per_head pooler_type sbert_ce_default_activation_function sentence_transformers
    is_llama_config unsloth_fixed unsloth_version
""".split())  # noqa: SIM905
"""Keys that change nothing of what a model computes from given ids, or only how it is trained or searched."""


PROBLEMS = {"multi_label": "multi_label_classification", "regression": "regression"}
"""Field of c.ClassificationHead -> the `problem_type` that says it."""
MOST_LABELS = 1_000_000
_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)), int: ("a whole number", (int,)), float: ("a number", (int, float)),
    str: ("a text", (str,)), list: ("a list", (list,)), dict: ("a table", (dict,))}
"""What a value must be, in words and in types, where the default is of that type."""


def _check_kind(key: str, value: Any, default: Any, least: int) -> None:
    """Raises ConfigError where a value is of another kind than the default, or out of any range."""
    place = f"the checkpoint's config.json has {key} = {value!r:.60}"
    words, types = _KINDS.get(type(default), ("", (object,)))
    if not isinstance(value, types) or (isinstance(value, bool) and types in ((int,), (int, float))):
        raise ConfigError(f"{place}; it must be {words}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}; it must be a finite number")
    most = c.MOST_LAYERS if key.endswith(("layer", "layers")) else c.MOST
    if types == (int,) and isinstance(value, int) and not least <= value <= most:
        raise ConfigError(f"{place}; it must be {least} to {most:,}")


class ForeignConfig:
    """A foreign config.json that is read key by key, so that what nobody has read can be refused by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.defaults: dict[str, Any] = {}
        self.used: set[str] = set()
        self.nested: dict[str, Any] = {}
        """Keys of tables within that nobody has read, by their dotted names."""
        self.latest = ""
        """The key read last: where something goes wrong, it is the likeliest cause."""

    def assume(self, defaults: Mapping[str, Any]) -> None:
        """What the family's own config class takes for keys that are absent. A key that is null stays so."""
        self.defaults = dict(defaults)
        self.values = {**defaults, **self.values}

    def get(self, key: str, default: Any = None, *, least: int = 1) -> Any:
        """The value; `default` where it is absent or null.

        Raises ConfigError where it is of another kind than `default`, or a whole number below `least`.
        """
        value = self.any(key)
        if value is None:
            return default
        _check_kind(key, value, self.defaults.get(key) if default is None else default, least)
        return value

    def any(self, key: str) -> Any:
        """The value, of whatever kind; None where it is absent or null."""
        self.used.add(key)
        self.latest = key
        return self.values.get(key)

    def need(self, key: str) -> Any:
        """The value. Raises ConfigError where it is absent."""
        value = self.get(key)
        if value is None:
            raise ConfigError(f"the checkpoint's config.json lacks {key}")
        return value

    def expect(self, key: str, *allowed: Any) -> None:
        """The value is absent or one of `allowed`; anything else is a behaviour that Weft does not have."""
        value = self.any(key)
        if value is not None and value not in allowed:
            raise ConfigError(f"the checkpoint's config.json has {key} = {value!r:.60}, which Weft does not do; it does "
                              f"{' or '.join(map(repr, allowed))}")

    def refuse_unread(self, ignored: Iterable[str] = ()) -> None:
        """Raises ConfigError that names every key that was neither read nor is known to be harmless."""
        values = self.values | self.nested
        unread = sorted(set(values) - self.used - HARMLESS - set(ignored))
        unread = [key for key in unread if values[key] is not None]
        if unread:
            shown = ", ".join(f"{key} = {values[key]!r:.60}" for key in unread)
            raise ConfigError(f"the checkpoint's config.json has keys that Weft does not know: {shown}. They may change what "
                              f"the model computes; if you know that they do not, name them with --ignore-keys")

    # ------------------------------------------------------------ what many families share

    def activation(self, key: str, default: str) -> Any:
        """Weft's name of an activation."""
        name = self.get(key, default)
        if name not in ACTIVATIONS:
            raise ConfigError(f"the checkpoint's config.json has {key} = {name!r}; Weft knows {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]

    def special(self, vocabulary: int, *, pad: int | None = None, bos: int | None = None, eos: int | None = None,
                start: int | None = None) -> c.SpecialTokens:
        """Ids from the usual keys, with the family's defaults. Of several ends the first is taken; those outside the
        vocabulary count as absent. What fills batches and begins texts needs an id, and is another's or the last there."""
        def known(key: str, default: int | None) -> int | None:
            value = default if self.any(key) is None else self.any(key)
            value = value[0] if isinstance(value, list) and value else value
            return value if type(value) is int and 0 <= value < vocabulary else None

        ends, begins = known("eos_token_id", eos), known("bos_token_id", bos)
        last = ends if ends is not None else begins if begins is not None else vocabulary - 1
        pads = known("pad_token_id", pad)
        first = known("decoder_start_token_id", start)
        return c.SpecialTokens(pad=last if pads is None else pads, unk=None, bos=begins, eos=ends,
                               start=first if first is not None else begins if begins is not None else last)

    @property
    def problem(self) -> dict[str, Any]:
        """What c.ClassificationHead has of `problem_type`."""
        kind = self.any("problem_type")
        return {"multi_label": kind == PROBLEMS["multi_label"], "regression": kind == PROBLEMS["regression"]}

    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their logits."""
        names = self.get("id2label", {})
        count = self.get("num_labels", len(names) or 2)
        if count > MOST_LABELS:
            raise ConfigError(f"the checkpoint's config.json has num_labels = {count:,}; Weft reads at most {MOST_LABELS:,}")
        return tuple(str(names.get(str(i), names.get(i, f"LABEL_{i}"))) for i in range(count))


ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
               "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu", "swish": "silu", "tanh": "tanh"}
"""Hugging Face's names of activations, and Weft's."""
FOREIGN_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "tanh": "tanh"}
