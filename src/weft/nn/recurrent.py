"""Recurrent encoder and decoder: GRU or LSTM cells, one vector or attention between them.

States are tuples of [B, layers, size] tensors: (h,) for a GRU, (h, c) for an LSTM. Sources are padded on the
right, which a forward cell never sees before its last valid step; a backward cell reads each row reversed
within its length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weft.nn.dropout import Dropout
from weft.nn.linear import Linear
from weft.spec import config as c
from weft.spec.trace import Trace

State = tuple[Tensor, ...]


class Cell(nn.Module):
    """Weights of one layer in one direction, run over a sequence or for one step (torch.gru, torch.lstm)."""

    def __init__(self, stack: c.RecurrentStack, inputs: int) -> None:
        super().__init__()
        rows = stack.gates * stack.size
        self.is_lstm, self.size = stack.cell == "lstm", stack.size
        self.input_weight = nn.Parameter(torch.empty(rows, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(rows, stack.size))
        self.input_bias = nn.Parameter(torch.zeros(rows))
        self.recurrent_bias = nn.Parameter(torch.zeros(rows))

    def _weights(self) -> list[Tensor]:
        return [self.input_weight, self.recurrent_weight, self.input_bias, self.recurrent_bias]

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x [B, T, inputs], state of [B, size] each -> outputs [B, T, size] and the last state."""
        if state is None:
            state = (x.new_zeros(x.shape[0], self.size),) * (2 if self.is_lstm else 1)
        first = tuple(part[None].contiguous() for part in state)
        if self.is_lstm:
            outputs, h, cell = torch.lstm(x, first, self._weights(), True, 1, 0.0, self.training, False, True)
            return outputs, (h[0], cell[0])
        outputs, h = torch.gru(x, first[0], self._weights(), True, 1, 0.0, self.training, False, True)
        return outputs, (h[0],)

    def step(self, x: Tensor, state: State) -> State:
        """x [B, inputs], state of [B, size] each -> next state."""
        if self.is_lstm:
            return torch.lstm_cell(x, list(state), *self._weights())
        return (torch.gru_cell(x, state[0], *self._weights()),)


class Layer(nn.Module):
    """One layer; `backward` is there when it reads both ways."""

    def __init__(self, stack: c.RecurrentStack, inputs: int) -> None:
        super().__init__()
        self.forward_cell = Cell(stack, inputs)
        self.backward_cell = Cell(stack, inputs) if stack.bidirectional else None

    def run(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, S, inputs] -> outputs [B, S, output size], last output of each direction [B, output size]."""
        outputs, _ = self.forward_cell.run(x)
        last = outputs[torch.arange(len(x)), lengths - 1]
        if self.backward_cell is None:
            return outputs, last
        order = _reversed_within(lengths, x.shape[1])[:, :, None]
        flipped, _ = self.backward_cell.run(x.gather(1, order.expand_as(x)))
        back = flipped.gather(1, order.expand_as(flipped))
        return torch.cat((outputs, back), -1), torch.cat((last, back[:, 0]), -1)


def _reversed_within(lengths: Tensor, size: int) -> Tensor:
    """Index [B, S] that reverses each row's first `length` positions and leaves the rest."""
    index = torch.arange(size)
    return torch.where(index < lengths[:, None], lengths[:, None] - 1 - index, index)


class RecurrentEncoder(nn.Module):
    """Embeddings [B, S, D] -> outputs [B, S, O] and summary [B, O], O the output size."""

    def __init__(self, config: c.ModelConfig, stack: c.RecurrentStack) -> None:
        super().__init__()
        inputs = [config.width, *[stack.output_size] * (stack.layers - 1)]
        self.layers = nn.ModuleList(Layer(stack, size) for size in inputs)
        self.dropout = Dropout()

    def forward(self, x: Tensor, lengths: Tensor, trace: Trace | None = None) -> tuple[Tensor, Tensor]:
        last = x
        for layer in self.layers:
            x, last = layer.run(self.dropout(x), lengths)
        if trace is not None:
            trace.add("encoder.hidden", x)
        return x, last


@dataclass
class RecurrentMemory:
    """What a recurrent decoder sees of the source: outputs [B, S, O], keys [B, S, A], mask [B, S], summary [B, O]."""

    outputs: Tensor
    keys: Tensor
    mask: Tensor
    summary: Tensor

    def rows(self, index: Tensor) -> RecurrentMemory:
        return RecurrentMemory(*(part.index_select(0, index) for part in
                                 (self.outputs, self.keys, self.mask, self.summary)))


class Scorer(nn.Module):
    """Attention scores of a decoder state over the source."""

    def __init__(self, bridge: c.BahdanauAttention | c.LuongAttention, state: int, source: int) -> None:
        super().__init__()
        self.additive = isinstance(bridge, c.BahdanauAttention)
        if isinstance(bridge, c.BahdanauAttention):
            self.query = Linear(state, bridge.size, bias=False)
            self.key = Linear(source, bridge.size)
            self.score = Linear(bridge.size, 1, bias=False)
        elif bridge.score == "general":
            self.key = Linear(source, state, bias=False)

    def project(self, outputs: Tensor) -> Tensor:
        return self.key(outputs) if hasattr(self, "key") else outputs

    def forward(self, states: Tensor, memory: RecurrentMemory) -> tuple[Tensor, Tensor]:
        """states [B, T, size] -> contexts [B, T, O] and weights [B, T, S]."""
        if self.additive:
            inner = torch.tanh(self.query(states)[:, :, None] + memory.keys[:, None])  # [B, T, S, A]
            scores = self.score(inner).squeeze(-1)
        else:
            scores = states @ memory.keys.transpose(1, 2)
        weights = torch.softmax(scores + memory.mask[:, None], -1)
        return weights @ memory.outputs, weights


class RecurrentDecoder(nn.Module):
    """Embeddings and memory -> hidden [B, T, D]; runs a whole target or one step of it alike."""

    def __init__(self, config: c.ModelConfig, stack: c.RecurrentStack) -> None:
        super().__init__()
        assert isinstance(config.encoder, c.RecurrentStack) and stack.bridge is not None
        source, bridge = config.encoder.output_size, stack.bridge
        self.stack, self.bridge = stack, bridge
        self.feeds_context = isinstance(bridge, c.BahdanauAttention) or bridge == c.SingleVector(every_step=True)
        inputs = [config.width + (source if self.feeds_context else 0), *[stack.size] * (stack.layers - 1)]
        self.layers = nn.ModuleList(Layer(stack, size) for size in inputs)
        self.initial = Linear(source, stack.layers * stack.size * (2 if stack.cell == "lstm" else 1))
        attends = not isinstance(bridge, c.SingleVector)
        if not isinstance(bridge, c.SingleVector):
            self.attention = Scorer(bridge, stack.size, source)
        self.readout = Linear(stack.size + (source if attends else 0), config.width)
        self.dropout = Dropout()

    def remember(self, outputs: Tensor, summary: Tensor, mask: Tensor) -> RecurrentMemory:
        """What decoding needs of the encoder's outputs, computed once. mask [B, S] is additive."""
        keys = outputs if isinstance(self.bridge, c.SingleVector) else self.attention.project(outputs)
        return RecurrentMemory(outputs, keys, mask, summary)

    def first_state(self, memory: RecurrentMemory) -> State:
        """tanh(W summary), cut into layers; [B, layers, size] each."""
        parts = torch.tanh(self.initial(memory.summary)).unflatten(-1, (-1, self.stack.layers, self.stack.size))
        return tuple(parts.unbind(1))

    def forward(self, x: Tensor, memory: RecurrentMemory, state: State | None = None, trace: Trace | None = None
                ) -> tuple[Tensor, State]:
        """x [B, T, D] -> hidden [B, T, D], state after the last step."""
        state = self.first_state(memory) if state is None else state
        weights = None
        if isinstance(self.bridge, c.BahdanauAttention):
            outputs, contexts, weights, state = self._unroll(self.dropout(x), memory, state)
            features = torch.cat((outputs, contexts), -1)
        else:
            if self.feeds_context:
                x = torch.cat((x, memory.summary[:, None].expand(-1, x.shape[1], -1)), -1)
            features, state = self._run(x, state)
            if isinstance(self.bridge, c.LuongAttention):
                contexts, weights = self.attention(features, memory)
                features = torch.cat((features, contexts), -1)
        if trace is not None and weights is not None:
            trace.add("decoder.attention.weights", weights[:, None])
        hidden = torch.tanh(self.readout(self.dropout(features)))
        if trace is not None:
            trace.add("decoder.hidden", hidden)
        return hidden, state

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Layer after layer over the whole target: no step needs the one before but through its cell."""
        lasts = []
        for index, layer in enumerate(self.layers):
            x, last = layer.forward_cell.run(self.dropout(x), tuple(part[:, index] for part in state))
            lasts.append(last)
        return x, tuple(torch.stack(parts, 1) for parts in zip(*lasts, strict=True))

    def _unroll(self, x: Tensor, memory: RecurrentMemory, state: State) -> tuple[Tensor, Tensor, Tensor, State]:
        """Step after step: the context of each comes from the state before it."""
        layers = [tuple(part[:, index] for part in state) for index in range(len(self.layers))]
        steps = []
        for t in range(x.shape[1]):
            context, weights = self.attention(layers[-1][0][:, None], memory)
            inner = torch.cat((x[:, t], context[:, 0]), -1)
            for index, layer in enumerate(self.layers):
                layers[index] = layer.forward_cell.step(self.dropout(inner) if index else inner, layers[index])
                inner = layers[index][0]
            steps.append((inner, context[:, 0], weights[:, 0]))
        outputs, contexts, weight_rows = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
        return outputs, contexts, weight_rows, tuple(torch.stack(parts, 1) for parts in zip(*layers, strict=True))
