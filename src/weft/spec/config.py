"""ModelConfig: one frozen tree that says everything about a model's architecture. Pure Python.

One field per decision, each a closed set of tagged variants. Behaviour comes from these fields, never from a
model's name. Shape letters used in all of Weft: B batch, T target positions, S source positions, H heads,
K key/value heads, E head size, D model width, F feed-forward size, V vocabulary, R rows being decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from weft.errors import ConfigError
from weft.spec.position_types import (  # noqa: F401 (read as c.Rotary and so on)
    ALiBi,
    DynamicScaling,
    Learned,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NoPosition,
    Position,
    RelativeBias,
    Rotary,
    RotaryScaling,
    Sinusoidal,
    YarnScaling,
    rotary_checks,
)
from weft.spec.tagged import from_dict, to_dict

# ---------------------------------------------------------------- parts of a Transformer stack


@dataclass(frozen=True)
class LayerNorm:
    """Ba et al. 2016."""

    type: ClassVar[str] = "layer_norm"
    epsilon: float = 1e-5
    bias: bool = True


@dataclass(frozen=True)
class RMSNorm:
    """Zhang and Sennrich 2019. offset: added to the weights; 1 where they are kept as differences from 1 (Gemma)."""

    type: ClassVar[str] = "rms_norm"
    epsilon: float = 1e-6
    offset: float = 0.0


Norm = LayerNorm | RMSNorm


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention with `heads` query heads (Vaswani et al. 2017, section 3.2).

    key_value_heads: fewer than heads is grouped-query attention (Ainslie et al. 2023), 1 is multi-query.
    head_size: None is width / heads.
    output_bias: None is as `bias`, which then is that of queries, keys and values.
    scale: factor of the scores; None is head_size ** -0.5.
    window: each position sees at most this many latest positions, itself included (self-attention only).
    soft_cap: scores become cap * tanh(score / cap) (Gemma 2).
    query_key_norm: norm of every query and key head (Henry et al. 2020).
    """

    heads: int
    key_value_heads: int | None = None
    head_size: int | None = None
    bias: bool = True
    output_bias: bool | None = None
    scale: float | None = None
    window: int | None = None
    soft_cap: float | None = None
    query_key_norm: Norm | None = None


Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True)
class FeedForward:
    """Two linear maps around an activation; gated ones multiply by a third (Shazeer 2020)."""

    size: int
    activation: Activation = "relu"
    gated: bool = False
    bias: bool = True


@dataclass(frozen=True)
class TransformerStack:
    """A stack of equal blocks.

    placement: `post` norms after each residual sum (Vaswani et al. 2017), `pre` before each sub-layer
    (Xiong et al. 2020), `sandwich` both before and after it, within the residual branch (Ding et al. 2021); `pre_normed` as
    pre, but the sub-layer's output is added to its normed input (Megatron-LM, BLOOM's variant).
    residual: `sequential`, or attention and feed-forward side by side: `parallel` on one norm (PaLM), `parallel_norms`
    on a norm each (GPT-NeoX).
    final_norm: a norm after the last block. first_norm: the first attention has its norm (ModernBERT: no).
    pattern: which layers see only attention.window, repeated over the stack; empty: all of them do, if there is one.
    local_position: positions of `local` layers where they differ, rotary both (Gemma 3).
    """

    type: ClassVar[str] = "transformer"
    layers: int
    attention: Attention
    feed_forward: FeedForward
    norm: Norm = LayerNorm()
    placement: Literal["pre", "post", "sandwich", "pre_normed"] = "post"
    position: Position = Sinusoidal()
    residual: Literal["sequential", "parallel", "parallel_norms"] = "sequential"
    final_norm: bool = False
    embedding_norm: bool = False
    first_norm: bool = True
    pattern: tuple[Literal["local", "global"], ...] = ()
    local_position: Rotary | None = None

    def is_local(self, layer: int) -> bool:
        """Whether that layer's self-attention is limited to attention.window."""
        if self.attention.window is None:
            return False
        return not self.pattern or self.pattern[layer % len(self.pattern)] == "local"


def turns_by_length(stack: Stack | None) -> bool:
    """Whether rotary angles in any of its layers depend on how long the text is."""
    return isinstance(stack, TransformerStack) and any(isinstance(position, Rotary) and position.by_length
                                                       for position in (stack.position, stack.local_position))


# ---------------------------------------------------------------- parts of a recurrent stack


@dataclass(frozen=True)
class SingleVector:
    """The encoder's last state is all that the decoder gets.

    every_step: False hands it over as first state (Sutskever et al. 2014); True also feeds it to every step
    (Cho et al. 2014).
    """

    type: ClassVar[str] = "single_vector"
    every_step: bool = False


@dataclass(frozen=True)
class BahdanauAttention:
    """Additive attention with the state before the step; its context is an input of the step
    (Bahdanau et al. 2015, appendix A)."""

    type: ClassVar[str] = "bahdanau"
    size: int


@dataclass(frozen=True)
class LuongAttention:
    """Multiplicative attention with the state after the step (Luong et al. 2015, section 3.1).

    score: `dot` needs encoder outputs as wide as the decoder state; `general` maps them.
    """

    type: ClassVar[str] = "luong"
    score: Literal["dot", "general"] = "general"


Bridge = SingleVector | BahdanauAttention | LuongAttention


@dataclass(frozen=True)
class RecurrentStack:
    """GRU (Cho et al. 2014) or LSTM (Hochreiter and Schmidhuber 1997) layers of `size` cells a direction.

    bidirectional: the encoder reads both ways; outputs are 2 * size wide (never in a decoder).
    bridge: how the decoder gets at the source (decoders only).
    """

    type: ClassVar[str] = "recurrent"
    cell: Literal["gru", "lstm"]
    size: int
    layers: int = 1
    bidirectional: bool = False
    bridge: Bridge | None = None

    @property
    def gates(self) -> int:
        return 3 if self.cell == "gru" else 4

    @property
    def output_size(self) -> int:
        return self.size * (2 if self.bidirectional else 1)


Stack = TransformerStack | RecurrentStack
MOST_LAYERS = 2000
MOST = 2**31 - 1
"""The largest size of anything; what is above it is a mistake, and would exhaust memory before anyone said so."""

# ---------------------------------------------------------------- the whole


@dataclass(frozen=True)
class Embedding:
    """Token embeddings and what shares their matrix.

    sharing: `all` one matrix for source, target and head (Press and Wolf 2017); `target` for target and head;
    `inputs` for source and target; `none`.
    scale: `sqrt_width` multiplies embeddings by sqrt(D) (Vaswani et al. 2017, section 3.4).
    size: None is the width; others are mapped to it.
    types: kinds of segment, each with an embedding of its own that is added (BERT: 2); 0 is none.
    projection: where embeddings of another size are mapped to the width: `after` positions, kinds of segment and norm, with
    a bias (ELECTRA), or `before` them, without one (OPT-350m).
    """

    sharing: Literal["all", "target", "inputs", "none"] = "all"
    scale: Literal["none", "sqrt_width"] = "sqrt_width"
    size: int | None = None
    types: int = 0
    projection: Literal["after", "before"] = "after"


@dataclass(frozen=True)
class Transform:
    """A linear map, an activation and a norm between the hidden state and a head's output layer.

    size: of its outputs; None is the width. An output layer tied to embeddings of another size than the width needs theirs.
    """

    activation: Literal["relu", "gelu", "gelu_tanh", "silu", "tanh", "none"]
    norm: Norm | None = None
    bias: bool = True
    size: int | None = None


@dataclass(frozen=True)
class LanguageModelHead:
    """Hidden state to logits over the vocabulary. soft_cap as in Attention.

    scale: multiplies the hidden state (T5 with tied embeddings: D ** -0.5).
    """

    type: ClassVar[str] = "language_model"
    bias: bool = False
    soft_cap: float | None = None
    scale: float = 1.0
    transform: Transform | None = None


@dataclass(frozen=True)
class ClassificationHead:
    """One hidden state of a text to the logits of `labels`.

    pooling: the `first` position's state, the `last` one's, or the `mean` of all. In an encoder-decoder they are the decoder's,
    which reads the text again, behind the start token and without its end (BART).
    multi_label: each label has a probability of its own (sigmoid), else they exclude each other (softmax); a single label
    always has its own. regression: the logits are the answer, numbers and no probabilities.
    """

    type: ClassVar[str] = "classification"
    labels: tuple[str, ...]
    pooling: Literal["first", "last", "mean"] = "first"
    bias: bool = True
    transform: Transform | None = None
    multi_label: bool = False
    regression: bool = False


@dataclass(frozen=True)
class TagHead:
    """Every hidden state to the logits of `labels`; a single label has a sigmoid (ELECTRA's discriminator)."""

    type: ClassVar[str] = "tag"
    labels: tuple[str, ...]
    bias: bool = True
    transform: Transform | None = None


@dataclass(frozen=True)
class EmbeddingHead:
    """No output layer: a text is one vector, pooled as by ClassificationHead, of length 1 if `normalise`."""

    type: ClassVar[str] = "embedding"
    pooling: Literal["first", "last", "mean"] = "mean"
    normalise: bool = False


Head = LanguageModelHead | ClassificationHead | TagHead | EmbeddingHead


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning; None where the model has none.

    eos: None where no token ends a text (GPT-1). start: what the decoder is fed first. mask: what stands for a hidden token
    (encoder-only). prefix, suffix: what stands before and after the tokens of every source or prompt; suffix None is eos
    after a source and nothing after a prompt.
    """

    pad: int = 0
    unk: int | None = 1
    bos: int | None = 2
    eos: int | None = 3
    start: int = 2
    mask: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] | None = None

    @property
    def ending(self) -> tuple[int, ...]:
        """What stands after the tokens of a source."""
        if self.suffix is not None:
            return self.suffix
        return () if self.eos is None else (self.eos,)


@dataclass(frozen=True)
class Window:
    """Most positions, special tokens included, of a source and of a target (or of a decoder-only text)."""

    source: int = 512
    target: int = 512


@dataclass(frozen=True)
class ModelConfig:
    """A model: `encoder` and `decoder` (encoder-decoder), or one of them alone (encoder-only, decoder-only).

    tokenizer: fingerprint of the tokenizer it was trained with; None before training.
    """

    vocabulary: int
    width: int
    decoder: Stack | None = None
    encoder: Stack | None = None
    embedding: Embedding = Embedding()
    head: Head = LanguageModelHead()
    special: SpecialTokens = SpecialTokens()
    window: Window = field(default_factory=Window)
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        problems = [*_range_problems(self), *_stack_problems(self)]
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def kind(self) -> Literal["encoder-decoder", "encoder-only", "decoder-only"]:
        if self.decoder is None:
            return "encoder-only"
        return "decoder-only" if self.encoder is None else "encoder-decoder"

    @property
    def is_recurrent(self) -> bool:
        return isinstance(self.decoder, RecurrentStack)

    @property
    def embedding_size(self) -> int:
        return self.embedding.size or self.width

    @property
    def position_size(self) -> int:
        """Channels of embeddings where positions are added."""
        return self.embedding_size if self.embedding.projection == "after" else self.width

    @property
    def head_width(self) -> int:
        """Channels that the output layer reads."""
        transform = None if isinstance(self.head, EmbeddingHead) else self.head.transform
        return self.width if transform is None or transform.size is None else transform.size

    @property
    def outputs(self) -> int:
        """Logits of a position or text; 0 for an embedding head."""
        if isinstance(self.head, LanguageModelHead):
            return self.vocabulary
        return 0 if isinstance(self.head, EmbeddingHead) else len(self.head.labels)

    def head_size(self, attention: Attention) -> int:
        return attention.head_size or self.width // attention.heads

    def with_tokenizer(self, fingerprint: str, vocabulary: int) -> ModelConfig:
        return replace(self, tokenizer=fingerprint, vocabulary=vocabulary)

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

    @staticmethod
    def from_dict(data: Any) -> ModelConfig:
        """Raises ConfigError with the path of the key that is unknown, missing or wrong."""
        return from_dict(ModelConfig, data)


def key_value_heads(attention: Attention) -> int:
    return attention.key_value_heads or attention.heads


# ---------------------------------------------------------------- what cannot be


def _range_problems(config: ModelConfig) -> list[str]:
    special, tied = config.special, isinstance(config.head, LanguageModelHead)
    ids = [special.pad, special.start, *(special.prefix), *(special.suffix or ()),
           *(token for token in (special.unk, special.bos, special.eos, special.mask) if token is not None)]
    sharings = {"encoder-only": ("all", "none") if tied else ("none",),
                "decoder-only": ("target", "none") if tied else ("none",),
                "encoder-decoder": ("all", "target", "inputs", "none") if tied else ("inputs", "none")}.get(config.kind)
    checks = [
        (config.vocabulary >= 1, f"vocabulary is {config.vocabulary}; it must be 1 or more"),
        (config.width >= 1, f"width is {config.width}; it must be 1 or more"),
        (config.window.source >= 1 and config.window.target >= 1, "window must be 1 or more positions"),
        (max(config.vocabulary, config.width, config.embedding_size, config.head_width,
             config.window.source, config.window.target) <= MOST,
         f"vocabulary, width and window must be at most {MOST:,}"),
        (all(0 <= token < config.vocabulary for token in ids),
         f"a special token id is not below the vocabulary of {config.vocabulary}"),
        (config.encoder is not None or config.decoder is not None, "a model needs an encoder or a decoder"),
        (sharings is None or config.embedding.sharing in sharings,
         f"embedding.sharing is {config.embedding.sharing!r}; this {config.kind} model needs {' or '.join(sharings or ())}"),
        (config.kind != "encoder-decoder" or special.eos is not None, "an encoder-decoder needs special.eos"),
        (config.kind != "encoder-decoder" or tied or (isinstance(config.head, ClassificationHead) and not config.is_recurrent),
         f"an encoder-decoder needs a language_model head, or, if it is a Transformer, classification; not {config.head.type}"),
        (config.embedding_size == config.head_width or config.embedding.sharing in ("inputs", "none"),
         f"embedding.sharing is {config.embedding.sharing!r}, but embeddings have {config.embedding_size} channels and the "
         f"output layer reads {config.head_width}: set embedding.sharing 'none', or head.transform.size"),
        (config.embedding_size >= 1 and config.head_width >= 1, "embedding.size and head.transform.size must be 1 or more"),
        (not (isinstance(config.head, ClassificationHead) and config.head.multi_label and config.head.regression),
         "head.multi_label and head.regression contradict each other"),
        (config.kind == "encoder-only" or not config.embedding.types, "embedding.types is for encoder-only models"),
    ]
    return [message for good, message in checks if not good]


def _stack_problems(config: ModelConfig) -> list[str]:
    problems = []
    for name, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        if isinstance(stack, TransformerStack):
            problems += _transformer_problems(config, name, stack)
        elif isinstance(stack, RecurrentStack):
            problems += _recurrent_problems(config, name, stack)
    if config.kind == "encoder-decoder" and type(config.encoder) is not type(config.decoder):
        problems.append("encoder and decoder must both be transformer or both be recurrent")
    return problems


def _transformer_problems(config: ModelConfig, name: str, stack: TransformerStack) -> list[str]:
    attention = stack.attention
    size = attention.head_size
    position, width = stack.position, config.position_size
    channels = config.head_size(attention) if attention.heads else 0
    turned = (position.dimension or channels) if isinstance(position, Rotary) else 0
    checks = [
        (0 <= stack.layers <= MOST_LAYERS, f"{name}.layers is {stack.layers}; it must be 0 to {MOST_LAYERS:,}"),
        (1 <= stack.feed_forward.size <= MOST,
         f"{name}.feed_forward.size is {stack.feed_forward.size}; it must be 1 to {MOST:,}"),
        (1 <= attention.heads <= MOST, f"{name}.attention.heads is {attention.heads}; it must be 1 to {MOST:,}"),
        (1 <= key_value_heads(attention) <= MOST and (size is None or 1 <= size <= MOST),
         f"{name}.attention.key_value_heads and head_size must be 1 to {MOST:,}"),
        (attention.window is None or attention.window >= 1,
         f"{name}.attention.window is {attention.window}; it must be 1 or more"),
        (size is not None or config.width % max(attention.heads, 1) == 0,
         f"width {config.width} is no multiple of {name}.attention.heads {attention.heads}; set head_size"),
        (attention.heads % max(key_value_heads(attention), 1) == 0,
         f"{name}.attention.heads {attention.heads} is no multiple of key_value_heads {key_value_heads(attention)}"),
        (not (isinstance(position, Sinusoidal) and (position.dimension or width) > width),
         f"{name}.position.dimension is above the width {config.width}"),
        (not (isinstance(position, Sinusoidal) and (position.dimension or width) % 2),
         f"{name}.position.dimension must be even (set it if the width {width} is odd)"),
        (not (isinstance(position, Sinusoidal) and position.inclusive and (position.dimension or width) < 4),
         f"{name}.position.dimension must be 4 or more where the slowest channel is included"),
        (not (isinstance(position, Rotary) and isinstance(position.scaling, DynamicScaling) and turned < 4),
         f"{name}: dynamic scaling needs 4 channels or more that turn, not {turned}"),
        (not isinstance(position, RelativeBias) or position.buckets >= 4,
         f"{name}.position.buckets must be 4 or more"),
        (not (isinstance(position, RelativeBias)
              and (position.max_distance < 1 or position.max_distance in (position.buckets // 2, position.buckets // 4))),
         f"{name}.position.max_distance must be above 0, and neither half nor a quarter of the buckets: from there to it, "
         f"buckets grow by logarithm"),
        (not (isinstance(position, Rotary) and turned % 2),
         f"{name}: rotary positions turn an even number of channels, not {turned}"),
        *rotary_checks(f"{name}.position", position, channels),
        *rotary_checks(f"{name}.local_position", stack.local_position, channels),
        (not (isinstance(position, Rotary) and turned > channels),
         f"{name}.position.dimension is {turned}; a head has {channels} channels"),
        (stack.residual == "sequential" or stack.placement == "pre",
         f"{name}: residual {stack.residual!r} needs placement 'pre', not {stack.placement!r}"),
        (stack.residual == "sequential" or config.encoder is None,
         f"{name}: residual {stack.residual!r} is for decoder-only models"),
        (not stack.pattern or attention.window is not None, f"{name}.pattern needs {name}.attention.window"),
        (stack.local_position is None or isinstance(position, Rotary),
         f"{name}.local_position needs rotary positions in the other layers too"),
    ]
    return [message for good, message in checks if not good]


def _recurrent_problems(config: ModelConfig, name: str, stack: RecurrentStack) -> list[str]:
    decoder = name == "decoder"
    checks = [
        (stack.layers >= 1 and stack.size >= 1, f"{name}.layers and {name}.size must be 1 or more"),
        (not (decoder and stack.bidirectional), "decoder.bidirectional must be false: it cannot read ahead"),
        (decoder or stack.bridge is None, "encoder.bridge must be null: the bridge belongs to the decoder"),
        (not decoder or stack.bridge is not None, "decoder.bridge is missing: single_vector, bahdanau or luong"),
        (config.encoder is not None, "a recurrent decoder needs an encoder"),
    ]
    bridge, encoder = stack.bridge, config.encoder
    if isinstance(bridge, LuongAttention) and bridge.score == "dot" and isinstance(encoder, RecurrentStack):
        checks.append((encoder.output_size == stack.size,
                       f"luong score 'dot' needs encoder outputs ({encoder.output_size}) as wide as the decoder "
                       f"state ({stack.size}); use 'general'"))
    return [message for good, message in checks if not good]
