"""The torch model of any ModelConfig: embeddings, stacks, head. It knows nothing of training or decoding.

Its parameters are checked against the parameter table when it is built, and initialised from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.nn.attention import Attention
from weft.nn.dropout import Dropout
from weft.nn.embedding import embed
from weft.nn.feed_forward import FeedForward
from weft.nn.head import Head, pool_packed
from weft.nn.linear import Linear
from weft.nn.packing import Packing
from weft.nn.recurrent import RecurrentDecoder, RecurrentEncoder, RecurrentMemory
from weft.nn.stack import Table, TransformerStack, padding_mask
from weft.spec import config as c
from weft.spec.parameters import Parameter, parameters
from weft.spec.trace import Trace


@dataclass
class TransformerMemory:
    """Per block cross-attention keys and values [B, K, S, E], and an additive mask [B, 1, 1, S] or None."""

    keys_values: list[tuple[Tensor, Tensor]]
    mask: Tensor | None

    def rows(self, index: Tensor) -> TransformerMemory:
        """The memory of these sources only."""
        kept = [(keys.index_select(0, index), values.index_select(0, index)) for keys, values in self.keys_values]
        return TransformerMemory(kept, None if self.mask is None else self.mask.index_select(0, index))


Memory = TransformerMemory | RecurrentMemory | None


class Model(nn.Module):
    """Encoder-decoder, encoder-only or decoder-only, Transformer or recurrent."""

    def __init__(self, config: c.ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = config.width**0.5 if config.embedding.scale == "sqrt_width" else 1.0
        if config.encoder is not None:
            self.source_embedding = Table(config.vocabulary, config.embedding_size)
            self.encoder = _build_stack(config, "encoder")
        if config.decoder is not None:
            self.target_embedding = Table(config.vocabulary, config.embedding_size)
            self.decoder = _build_stack(config, "decoder")
        if config.embedding.types:
            self.type_embedding = Table(config.embedding.types, config.position_size)
        projected, self.projects_late = config.embedding_size != config.width, config.embedding.projection == "after"
        self.embedding_projection = Linear(config.embedding_size, config.width, self.projects_late) if projected else None
        self.head = Head(config)
        self._tie()
        _check(self, parameters(config))

    @property
    def is_recurrent(self) -> bool:
        return isinstance(self.config.decoder, c.RecurrentStack)

    @staticmethod
    def of(config: c.ModelConfig, values: Callable[[str], Tensor], dtype: torch.dtype = torch.float32) -> Model:
        """The model with `values(name)` as its parameters, made without filling it with random numbers first."""
        with torch.device("meta"):
            model = Model(config).to(dtype)
        model.to_empty(device="cpu")._tie()  # which gives each place a tensor of its own, tied or not
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(values(name))
        return model

    def _tie(self) -> None:
        sharing, kind = self.config.embedding.sharing, self.config.kind
        if kind == "encoder-decoder" and sharing in ("all", "inputs"):
            self.target_embedding.weight = self.source_embedding.weight
        if sharing in ("all", "target"):
            self.head.weight = (self.source_embedding if kind == "encoder-only" else self.target_embedding).weight

    def initialise(self, seed: int) -> Model:
        """Fill every parameter as the table says, from its own generator seeded with `seed`."""
        generator = torch.Generator().manual_seed(seed)
        table = parameters(self.config)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                _fill(parameter, table[name], generator)
        return self

    def set_dropout(self, residual: float, attention: float = 0.0, activation: float = 0.0) -> Model:
        """Drop probabilities: after embeddings and sub-layers, on attention weights, inside feed-forward."""
        for module in self.modules():
            if isinstance(getattr(module, "dropout", None), Dropout):
                kind = attention if isinstance(module, Attention) else \
                    activation if isinstance(module, FeedForward) else residual
                module.dropout.probability = kind
        return self

    def pack(self) -> Model:
        """Prepare for inference with the present weights; training does not see it."""
        for module in self.modules():
            if isinstance(module, (Attention, Head, Linear)):
                module.pack()
        return self

    # ------------------------------------------------------------ whole sequences

    def forward(self, source: Tensor | None, source_lengths: Tensor | None, target: Tensor,
                target_lengths: Tensor | None = None, trace: Trace | None = None) -> Tensor:
        """Teacher forcing. source [B, S], target inputs [B, T] (start token first) -> hidden [B, T, D].

        Rows are padded on the right; lengths say how much is valid.
        """
        memory = None if source is None else self.encode(source, source_lengths, trace)
        x = self.embed(self.target_embedding, target)
        if isinstance(memory, RecurrentMemory):
            return self.decoder(x, memory, trace=trace)[0]
        keys_values, mask = (memory.keys_values, memory.mask) if memory else (None, None)
        return self.decoder(x, self._needed(target_lengths), keys_values, mask, trace=trace,
                            project=self.late_projection)

    def _needed(self, lengths: Tensor | None) -> Tensor | None:
        """A causal decoder does not look at padding on the right; but some rotary scaling goes by the length."""
        return lengths if c.turns_by_length(self.config.decoder) else None

    def forward_packed(self, source: Tensor | None, source_lengths: Tensor | None, target: Tensor,
                       target_lengths: Tensor) -> Tensor:
        """As `forward`, but only the N valid target positions, row after row: [N, D]. For training: padding takes
        no part in anything but the products inside attention."""
        packing = Packing(target_lengths, target.shape[1])
        if not isinstance(self.decoder, TransformerStack):
            return packing.pack(self(source, source_lengths, target))
        memory = None
        if source is not None and source_lengths is not None:
            memory = self.encode(source, source_lengths, packing=Packing(source_lengths, source.shape[1]))
        keys_values, mask = (memory.keys_values, memory.mask) if isinstance(memory, TransformerMemory) else (None, None)
        x = self.embed(self.target_embedding, packing.pack(target))
        return self.decoder(x, self._needed(target_lengths), keys_values, mask, packing=packing,
                            project=self.late_projection)

    def features(self, source: Tensor | None, source_lengths: Tensor | None, target: Tensor | None,
                 target_lengths: Tensor | None, places: Tensor | None = None) -> Tensor:
        """Hidden states [N, D] behind the N targets of a training batch (weft.train.batch), for `head.prepare`."""
        if target is not None and target_lengths is not None:
            hidden, lengths = self.forward_packed(source, source_lengths, target, target_lengths), target_lengths
        else:
            assert source is not None and source_lengths is not None
            packing, lengths = Packing(source_lengths, source.shape[1]), source_lengths
            hidden = self.read(source, source_lengths, packing=packing)
        if isinstance(self.config.head, c.ClassificationHead):
            return pool_packed(hidden, lengths, self.config.head.pooling)
        return hidden if places is None else hidden.index_select(0, places)

    def read(self, source: Tensor, lengths: Tensor | None = None, trace: Trace | None = None,
             packing: Packing | None = None, types: Tensor | None = None) -> Tensor:
        """The Transformer encoder: source ids [B, S] -> hidden [B, S, D], or [N, D] if packed.

        types: int64 [B, S], the kind of each position's segment; default 0.
        """
        x = self.embed(self.source_embedding, packing.pack(source) if packing else source)
        if self.config.embedding.types:
            kinds = torch.zeros_like(source) if types is None else types
            x = x + embed(self.type_embedding.weight, packing.pack(kinds) if packing else kinds)
        padded = lengths is not None and bool((lengths != source.shape[1]).any())
        return self.encoder(x, lengths if padded else None, trace=trace, packing=packing,
                            project=self.late_projection)

    def encode(self, source: Tensor, lengths: Tensor | None = None, trace: Trace | None = None,
               packing: Packing | None = None) -> Memory:
        """source ids [B, S] -> what the decoder needs of it."""
        if isinstance(self.encoder, RecurrentEncoder):
            x = self.embed(self.source_embedding, source)
            lengths = torch.full((len(source),), source.shape[1]) if lengths is None else lengths
            mask = torch.zeros(source.shape, dtype=x.dtype)
            mask = mask.masked_fill(torch.arange(source.shape[1]) >= lengths[:, None], torch.finfo(x.dtype).min)
            return self.decoder.remember(*self.encoder(x, lengths, trace), mask)
        hidden = self.read(source, lengths, trace, packing)
        keys_values = [block.cross_attention.project_memory(hidden, packing) for block in self.decoder.blocks]
        return TransformerMemory(keys_values, padding_mask(lengths, source.shape[1], hidden.dtype))

    def embed(self, table: Table, ids: Tensor) -> Tensor:
        """ids [B, T] -> what positions are added to, [B, T, D] or embedding.size, scaled."""
        x = embed(table.weight, ids, self.scale)
        return x if self.projects_late or self.embedding_projection is None else self.embedding_projection(x)

    @property
    def late_projection(self) -> nn.Module | None:
        """Maps embeddings to the width once positions are added."""
        return self.embedding_projection if self.projects_late else None


def _build_stack(config: c.ModelConfig, name: str) -> nn.Module:
    stack = config.encoder if name == "encoder" else config.decoder
    if isinstance(stack, c.RecurrentStack):
        return RecurrentEncoder(config, stack) if name == "encoder" else RecurrentDecoder(config, stack)
    assert stack is not None
    length = config.window.source if name == "encoder" else config.window.target
    return TransformerStack(config, stack, name, name == "decoder" and config.encoder is not None, length)


def _check(model: Model, table: dict[str, Parameter]) -> None:
    """Every parameter of the table is in the module with its shape, and no other."""
    built = {name: tuple(tensor.shape) for name, tensor in model.named_parameters(remove_duplicate=False)}
    wanted = {name: parameter.shape for name, parameter in table.items()}
    if built != wanted:
        wrong = sorted(set(built.items()) ^ set(wanted.items()))
        raise ConfigError(f"the torch model and the parameter table disagree on {wrong}")


def _fill(tensor: Tensor, row: Parameter, generator: torch.Generator) -> None:
    if row.init == "xavier":
        bound = (6.0 / (row.shape[0] + row.shape[1])) ** 0.5
        tensor.uniform_(-bound, bound, generator=generator)
    elif row.init == "normal":
        tensor.normal_(0.0, row.scale, generator=generator)
    elif row.init == "uniform":
        tensor.uniform_(-row.scale, row.scale, generator=generator)
    else:
        tensor.fill_(1.0 if row.init == "ones" else 0.0)
