"""A foreign config.json, read key by key."""

from __future__ import annotations

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
    mlp_dropout pretraining_tp auto_map init_std
""".split())  # noqa: SIM905
"""Keys that change nothing of what a model computes from given ids, or only how it is trained or searched."""


class ForeignConfig:
    """A foreign config.json that is read key by key, so that what nobody has read can be refused by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.used: set[str] = set()

    def assume(self, defaults: Mapping[str, Any]) -> None:
        """What the family's own config class takes for keys that are absent. A key that is null stays so."""
        self.values = {**defaults, **self.values}

    def get(self, key: str, default: Any = None) -> Any:
        """The value; `default` where it is absent or null."""
        self.used.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def need(self, key: str) -> Any:
        """The value. Raises ConfigError where it is absent."""
        if self.get(key) is None:
            raise ConfigError(f"the checkpoint's config.json lacks {key}")
        return self.values[key]

    def expect(self, key: str, *allowed: Any) -> None:
        """The value is absent or one of `allowed`; anything else is a behaviour that Weft does not have."""
        value = self.get(key, allowed[0])
        if value not in allowed:
            raise ConfigError(f"the checkpoint's config.json has {key} = {value!r}, which Weft does not do; it does "
                              f"{' or '.join(map(repr, allowed))}")

    def refuse_unread(self, ignored: Iterable[str] = ()) -> None:
        """Raises ConfigError that names every key that was neither read nor is known to be harmless."""
        unread = sorted(set(self.values) - self.used - HARMLESS - set(ignored))
        unread = [key for key in unread if self.values[key] is not None]
        if unread:
            shown = ", ".join(f"{key} = {self.values[key]!r:.60}" for key in unread)
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
        vocabulary count as absent."""
        def known(key: str, default: int | None) -> int | None:
            value = self.get(key, default)
            value = value[0] if isinstance(value, list) and value else value
            return value if isinstance(value, int) and 0 <= value < vocabulary else None

        ends, begins = known("eos_token_id", eos), known("bos_token_id", bos)
        last = ends if ends is not None else begins if begins is not None else vocabulary - 1
        pads = known("pad_token_id", pad)
        first = known("decoder_start_token_id", start)
        return c.SpecialTokens(pad=last if pads is None else pads, unk=None, bos=begins, eos=last,
                               start=first if first is not None else begins if begins is not None else last)

    @property
    def multi_label(self) -> bool:
        return bool(self.get("problem_type") == "multi_label_classification")

    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their logits."""
        names = self.get("id2label", {})
        count = self.get("num_labels", len(names) or 2)
        return tuple(str(names.get(str(i), names.get(i, f"LABEL_{i}"))) for i in range(count))


ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
               "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu", "swish": "silu", "tanh": "tanh"}
"""Hugging Face's names of activations, and Weft's."""
FOREIGN_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "tanh": "tanh"}
