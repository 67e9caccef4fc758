"""The torch model against Hugging Face, and what must always hold: padding, batching and caching change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.marian import random_marian, weft_model
from tests.variants import RECURRENT, TRANSFORMERS
from weft.backends.torch import TorchRunner
from weft.nn.cache import padded
from weft.nn.model import Model
from weft.spec import config as c
from weft.spec.parameters import count, parameters
from weft.spec.trace import Trace

VARIANTS = {name: config for name, config in (TRANSFORMERS | RECURRENT).items()
            if config.decoder is not None and isinstance(config.head, c.LanguageModelHead)
            and name != "dynamic"}  # whose cached keys keep the angles of shorter texts


@pytest.fixture(params=VARIANTS, name="model")
def _model(request: pytest.FixtureRequest) -> Model:
    return Model(VARIANTS[request.param]).initialise(1).eval()


def rows(rng: np.random.Generator, lengths: list[int]) -> list[list[int]]:
    return [rng.integers(4, 40, length).tolist() for length in lengths]


def test_config_round_trip(model: Model) -> None:
    assert c.ModelConfig.from_dict(model.config.to_dict()) == model.config


def test_parameters_are_the_table(model: Model) -> None:
    stored = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert stored == {name: row.shape for name, row in parameters(model.config).items() if row.tie is None}
    assert sum(tensor.numel() for tensor in model.parameters()) == count(model.config)


def test_padding_and_batching_change_nothing(model: Model) -> None:
    rng = np.random.default_rng(0)
    runner = TorchRunner(model)
    sources = None if model.config.encoder is None else [[*row, 3] for row in rows(rng, [5, 1, 9])]
    targets = [[2, *row] for row in rows(rng, [3, 7, 1])]
    together = runner.logits(sources, targets)
    for index, target in enumerate(targets):
        alone = runner.logits(None if sources is None else [sources[index]], [target])
        np.testing.assert_allclose(together[index, : len(target)], alone[0], atol=2e-5)


def test_cached_steps_equal_the_whole(model: Model) -> None:
    """Rows step together, are reordered and dropped, and still give the logits of a full pass."""
    rng = np.random.default_rng(1)
    runner = TorchRunner(model)
    targets = [[2, *row] for row in rows(rng, [6, 6, 6])]
    sources = None if model.config.encoder is None else rows(rng, [4, 1, 7])
    prefix = None if sources is not None else rows(rng, [3, 0, 5])
    memory = None if sources is None else runner.encode(sources)
    runner.start(memory, 2, prefix)
    order = np.repeat(np.arange(3), 2)
    tokens = np.array([targets[i] for i in order])
    for step in range(7):
        if step == 2:  # swap the rows of each source
            runner.gather(np.array([1, 0, 3, 2, 5, 4]))
        if step == 4:  # drop the middle source
            runner.gather(np.array([0, 1, 4, 5]))
            tokens, order = tokens[[0, 1, 4, 5]], order[[0, 1, 4, 5]]
        logits = runner.step(tokens[:, step])
    for row, source in enumerate(order):
        whole = (prefix[source] if prefix else []) + targets[source]
        expected = runner.logits(None if sources is None else [sources[source]], [whole])[0, -1]
        np.testing.assert_allclose(logits[row], expected, atol=3e-5)


def test_best_is_the_top_of_the_logits(model: Model) -> None:
    runner = TorchRunner(model)
    sources, prefix = ([[5, 6, 3], [7, 3]], None) if model.config.encoder else (None, [[5], [6, 7]])
    runner.start(None if sources is None else runner.encode(sources), 1, prefix)
    full = runner.step(np.array([2, 2]))
    runner.start(None if sources is None else runner.encode(sources), 1, prefix)
    best = runner.step(np.array([2, 2]), best=5, banned=[0, 1])
    full[:, [0, 1]] = -np.inf
    log_probs = torch.log_softmax(torch.from_numpy(full), -1).numpy()
    order = np.argsort(-log_probs, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(best.tokens, order)
    np.testing.assert_allclose(best.log_probs, np.take_along_axis(log_probs, order, 1), atol=1e-5)


def test_packed_equals_padded(model: Model) -> None:
    """Hidden states and gradients of the valid positions, with and without the padding's part in the computation."""
    rng = np.random.default_rng(2)
    source, source_lengths = (None, None) if model.config.encoder is None else padded(rows(rng, [5, 1, 9, 9]), 0)
    target, lengths = padded(rows(rng, [3, 7, 1, 4]), 0)
    whole = model(source, source_lengths, target)
    valid = whole[torch.arange(7) < lengths[:, None]]
    probe = torch.randn(valid.shape, generator=torch.Generator().manual_seed(0))
    gradients = []
    for hidden in (valid, model.forward_packed(source, source_lengths, target, lengths)):
        torch.testing.assert_close(hidden, valid, atol=2e-5, rtol=1e-4)
        model.zero_grad()
        (hidden * probe).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


def test_trace_changes_nothing_and_weights_sum_to_one(model: Model) -> None:
    sources = [[5, 6, 7, 3], [8, 3]] if model.config.encoder else None
    targets = [[2, 9, 10], [2, 11, 12]]
    runner, trace = TorchRunner(model), Trace()
    np.testing.assert_array_equal(runner.logits(sources, targets), runner.logits(sources, targets, trace))
    weights = [name for name in trace if name.endswith(".weights")]
    expected = 0 if isinstance(getattr(model.config.decoder, "bridge", None), c.SingleVector) else 1
    assert len(weights) >= expected
    for name in weights:
        np.testing.assert_allclose(trace[name].sum(-1), 1.0, atol=1e-5)
        if "encoder.blocks" in name or "cross" in name or "decoder.attention" in name:
            queries = 2 if name.startswith("encoder") else None
            assert (trace[name][1, :, :queries, 2:] == 0).all(), "padding must get no attention"


def test_a_causal_decoder_cannot_see_ahead(model: Model) -> None:
    sources = [[5, 6, 3]] if model.config.encoder else None
    runner = TorchRunner(model)
    short, changed = runner.logits(sources, [[2, 9, 10, 11]]), runner.logits(sources, [[2, 9, 10, 30]])
    np.testing.assert_array_equal(short[:, :3], changed[:, :3])


@pytest.mark.parametrize("seed", range(4))
def test_logits_and_attention_equal_marian(seed: int) -> None:
    marian = random_marian(seed, tied=seed % 2 == 0)
    model = weft_model(marian)
    rng = np.random.default_rng(seed)
    source, lengths = torch.from_numpy(rng.integers(4, 61, (5, 9))), torch.tensor([9, 3, 1, 7, 9])
    target = torch.from_numpy(rng.integers(4, 61, (5, 6)))
    mask = torch.arange(9) < lengths[:, None]
    marian.set_attn_implementation("eager")
    with torch.inference_mode():
        theirs = marian(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target,
                        output_attentions=True)
        trace = Trace()
        ours = model.head(model(source, lengths, target, trace=trace))
    torch.testing.assert_close(ours, theirs.logits, atol=1e-4, rtol=1e-4)
    for layer, weights in enumerate(theirs.cross_attentions):
        np.testing.assert_allclose(trace[f"decoder.blocks.{layer}.cross_attention.weights"], weights, atol=1e-5)
    for layer, weights in enumerate(theirs.decoder_attentions):
        np.testing.assert_allclose(trace[f"decoder.blocks.{layer}.self_attention.weights"], weights, atol=1e-5)
