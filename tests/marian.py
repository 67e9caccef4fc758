"""Random small Hugging Face Marian models, and the same weights as a Weft model: the oracle of several tests."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from weft.nn.model import Model
from weft.spec import config as c

PAD, EOS, START = 0, 3, 2


def random_marian(seed: int, *, vocabulary: int = 61, width: int = 32, layers: int = 2, heads: int = 4,
                  feed_forward: int = 48, eos_bias: float = 0.0, tied: bool = False,
                  special: tuple[int, int, int] = (PAD, EOS, START)) -> MarianMTModel:
    """A MarianMTModel with random weights: small embeddings, so that a tied head does not just repeat the last token,
    and a last norm that spreads the logits. `eos_bias` makes sequences end early. special: ids of padding, end and start."""
    pad, eos, start = special
    torch.manual_seed(seed)
    model = MarianMTModel(MarianConfig(
        vocab_size=vocabulary, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_ffn_dim=feed_forward, decoder_ffn_dim=feed_forward, encoder_attention_heads=heads,
        decoder_attention_heads=heads, activation_function="relu", scale_embedding=True, pad_token_id=pad,
        eos_token_id=eos, decoder_start_token_id=start, forced_eos_token_id=None, max_position_embeddings=128,
        tie_word_embeddings=tied)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.normal_(0.0, 0.15 if "embed" in name or "shared" in name or "lm_head" in name else 0.4)
            if "layer_norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
        model.model.decoder.layers[-1].final_layer_norm.weight.mul_(4.0)
        model.final_logits_bias.normal_(0.0, 0.5)
        model.final_logits_bias[0, eos] += eos_bias
    model.generation_config = GenerationConfig(pad_token_id=pad, eos_token_id=eos, decoder_start_token_id=start)
    return model


def weft_config(config: MarianConfig) -> c.ModelConfig:
    def stack(layers: int, heads: int, feed_forward: int) -> c.TransformerStack:
        return c.TransformerStack(layers, c.Attention(heads), c.FeedForward(feed_forward),
                                  position=c.Sinusoidal(layout="halves"))
    return c.ModelConfig(
        config.vocab_size, config.d_model,
        encoder=stack(config.encoder_layers, config.encoder_attention_heads, config.encoder_ffn_dim),
        decoder=stack(config.decoder_layers, config.decoder_attention_heads, config.decoder_ffn_dim),
        embedding=c.Embedding("all" if config.tie_word_embeddings else "none"),
        head=c.LanguageModelHead(bias=True), special=c.SpecialTokens(PAD, 1, START, EOS, START),
        window=c.Window(128, 128))


_RENAMES = (("encoder_attn_layer_norm", "cross_attention_norm"), ("self_attn_layer_norm", "self_attention_norm"),
            ("final_layer_norm", "feed_forward_norm"), ("encoder_attn", "cross_attention"),
            ("self_attn", "self_attention"), ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"),
            ("out_proj", "output"), ("fc1", "feed_forward.up"), ("fc2", "feed_forward.down"), (".layers.", ".blocks."))


def weft_model(marian: MarianMTModel) -> Model:
    """The same weights in a Weft model."""
    state = marian.state_dict()
    renamed = {"source_embedding.weight": state["model.encoder.embed_tokens.weight"],
               "target_embedding.weight": state["model.decoder.embed_tokens.weight"],
               "head.weight": state["lm_head.weight"], "head.bias": state["final_logits_bias"][0]}
    for name, tensor in state.items():
        if ".layers." in name:
            name = name.removeprefix("model.")
            for old, new in _RENAMES:
                name = name.replace(old, new)
            renamed[name] = tensor
    model = Model(weft_config(marian.config)).eval()
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert not unexpected and not missing, (missing, unexpected)
    return model
