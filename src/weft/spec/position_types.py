"""How a Transformer stack tells positions apart: a closed set of variants. Pure Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Sinusoidal:
    """Vaswani et al. 2017, section 3.5: sin and cos of position / base ** (2i / dimension), added to embeddings.

    dimension: channels that carry the encoding (even); None is the model width. The rest get zeros.
    layout: `interleaved` as printed in the paper; `halves` puts all sines before all cosines (tensor2tensor,
    Marian).
    inclusive: the slowest channel turns exactly `base` times as slowly as the fastest (tensor2tensor, M2M100); else
    it would be the one after it.
    offset: the first position is this one (M2M100: 2).
    """

    type: ClassVar[str] = "sinusoidal"
    base: float = 10000.0
    dimension: int | None = None
    layout: Literal["interleaved", "halves"] = "interleaved"
    inclusive: bool = False
    offset: int = 0


@dataclass(frozen=True)
class Learned:
    """One trained vector per position, up to the window (Gehring et al. 2017).

    offset: rows before that of the first position (RoBERTa, BART, OPT: 2).
    """

    type: ClassVar[str] = "learned"
    offset: int = 0


@dataclass(frozen=True)
class LinearScaling:
    """Positions are divided by `factor` (Chen et al. 2023)."""

    type: ClassVar[str] = "linear"
    factor: float


@dataclass(frozen=True)
class DynamicScaling:
    """The base grows with the text once it is longer than the `original` window ("dynamic NTK", 2023).

    Keys in a cache keep the angles of the length at which they were read, as in Hugging Face.
    """

    type: ClassVar[str] = "dynamic"
    factor: float
    original: int


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow channels are divided by `factor`, fast ones stay, those between are mixed (LLaMA 3.1)."""

    type: ClassVar[str] = "llama3"
    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original: int


@dataclass(frozen=True)
class YarnScaling:
    """Peng et al. 2023: as llama3 with a linear ramp between channels that turn `beta_slow` and `beta_fast` times in
    the `original` window; cos and sin are multiplied by attention_factor."""

    type: ClassVar[str] = "yarn"
    factor: float
    original: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


@dataclass(frozen=True)
class LongRopeScaling:
    """Ding et al. 2024: each pair of channels turns more slowly by a factor of its own, of `short` in texts of up to
    `original` tokens, of `long` in longer ones; cos and sin are multiplied by attention_factor.

    A text that grows longer than that while it is decoded is read again, as in Hugging Face's Phi-3.
    """

    type: ClassVar[str] = "longrope"
    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    attention_factor: float = 1.0


RotaryScaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling


@dataclass(frozen=True)
class Rotary:
    """Su et al. 2021: queries and keys of self-attention are turned by an angle that grows with position.

    dimension: leading channels of a head that are turned (even); None is all. Channel i goes with i + dimension / 2.
    """

    type: ClassVar[str] = "rotary"
    base: float = 10000.0
    dimension: int | None = None
    scaling: RotaryScaling | None = None

    @property
    def by_length(self) -> bool:
        """Whether angles depend on how long the text is."""
        return isinstance(self.scaling, (DynamicScaling, LongRopeScaling))


@dataclass(frozen=True)
class RelativeBias:
    """Raffel et al. 2020 (T5): a learned bias per head and bucketed distance, shared by the stack's layers."""

    type: ClassVar[str] = "relative_bias"
    buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True)
class ALiBi:
    """Press et al. 2022: a fixed penalty on attention scores, linear in distance, one slope per head.

    scale: multiplies the penalty (Falcon: that of the scores). rounded: to bfloat16 at each key's position (Falcon).
    """

    type: ClassVar[str] = "alibi"
    scale: float = 1.0
    rounded: bool = False


@dataclass(frozen=True)
class NoPosition:
    """Positions are not told apart, but by a causal mask where there is one."""

    type: ClassVar[str] = "none"


Position = Sinusoidal | Learned | Rotary | RelativeBias | ALiBi | NoPosition


# ---------------------------------------------------------------- what cannot be


def rotary_checks(name: str, position: Position | None, head_size: int) -> list[tuple[bool, str]]:
    """(good, what it must be) of everything that a rotary position may have wrong."""
    if not isinstance(position, Rotary):
        return []
    scaling, pairs = position.scaling, (position.dimension or head_size) // 2
    return [
        (position.base > 1, f"{name}.base is {position.base}; it must be above 1"),
        (position.dimension is None or position.dimension >= 2,
         f"{name}.dimension is {position.dimension}; it must be 2 or more"),
        (scaling is None or isinstance(scaling, LongRopeScaling) or scaling.factor > 0,
         f"{name}.scaling.factor must be above 0"),
        (not isinstance(scaling, LongRopeScaling) or (len(scaling.short) == len(scaling.long) == pairs
                                                      and all(factor > 0 for factor in (*scaling.short, *scaling.long))),
         f"{name}.scaling.short and long must be {pairs} numbers above 0 each, one for every pair of channels that turn"),
        (scaling is None or isinstance(scaling, LinearScaling) or scaling.original >= 1,
         f"{name}.scaling.original must be 1 or more"),
        (not isinstance(scaling, Llama3Scaling) or scaling.high_frequency_factor > scaling.low_frequency_factor > 0,
         f"{name}.scaling.high_frequency_factor must be above low_frequency_factor, and that above 0"),
    ]
