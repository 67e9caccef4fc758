"""What the encoder-only families refuse, by name, and what they read from configs as they stand on the hub."""

from __future__ import annotations

from typing import Any

import pytest

from weft.errors import ConfigError, UnknownNameError, UsageError
from weft.families.family import find_family
from weft.families.foreign import ForeignConfig
from weft.spec import config as c


def read(model_type: str, head: str = "language_model", **values: Any) -> c.ModelConfig:
    _, family = find_family(model_type)
    foreign = ForeignConfig({"model_type": model_type, **values})
    config = family.read_config(foreign, head)
    foreign.refuse_unread(getattr(family, "IGNORED", ()))
    return config


@pytest.mark.parametrize(("model_type", "values", "message"), [
    ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
    ("roberta", {"is_decoder": True}, "is_decoder = True"),
    ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings = 2 and pad_token_id = 1"),
    ("roberta", {"adapter": "pfeiffer"}, "adapter = 'pfeiffer'"),
    ("distilbert", {"activation": "mish"}, "activation = 'mish'"),
    ("modernbert", {"layer_types": ["full_attention"], "num_hidden_layers": 2}, "layer_types"),
    ("modernbert", {"layer_types": ["full_attention", "chunked"], "num_hidden_layers": 2}, "layer_types"),
    ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling = 'max'"),
    ("modernbert", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
    ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "dynamic", "factor": 2.0}}}, "nor dynamic"),
    ("modernbert", {"partial_rotary_factor": 0.5}, "neither partial"),
])
def test_refused_by_name(model_type: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UsageError), match=message):
        read(model_type, **values)


def test_electra_without_its_position_type() -> None:
    with pytest.raises(ConfigError, match="relative_key"):
        read("electra", "tag", position_embedding_type="relative_key")
    with pytest.raises(UnknownNameError, match="electra"):
        find_family("electre")


def test_roberta_has_two_positions_less() -> None:
    config = read("roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    assert config.window.source == 512 and config.embedding.types == 1
    assert config.encoder.position == c.Learned(2)  # type: ignore[union-attr]


def test_electra_tells_its_two_heads_for_tokens_apart() -> None:
    replaced = read("electra", "tag", architectures=["ElectraForPreTraining"]).head
    tags = read("electra", "tag", architectures=["ElectraForTokenClassification"], id2label={"0": "O", "1": "B"}).head
    assert replaced == c.TagHead(("replaced",), transform=c.Transform("gelu"))
    assert tags == c.TagHead(("O", "B"))


def test_modernbert_as_its_authors_wrote_it() -> None:
    """Older keys of the bases and of the layers, and keys that say nothing."""
    config = read("modernbert", global_attn_every_n_layers=3, global_rope_theta=160000.0, local_rope_theta=10000.0,
                  local_attention=128, position_embedding_type="absolute", layer_norm_eps=1e-5, reference_compile=False,
                  repad_logits_with_grad=False, sparse_prediction=False, cls_token_id=50281)
    stack = config.encoder
    assert isinstance(stack, c.TransformerStack)
    assert stack.pattern == ("global", "local", "local") and stack.attention.window == 65
    assert stack.position == c.Rotary(160000.0) and stack.local_position == c.Rotary(10000.0)
    shared = read("modernbert", local_rope_theta=None).encoder
    assert isinstance(shared, c.TransformerStack) and shared.local_position == c.Rotary(160000.0)
