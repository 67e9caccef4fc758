"""The native engine in float32 against PyTorch, for every family and part: whole texts, steps of decoding, traces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from tests.backends.both import LENGTHS, close, native, reference, rows, same_trace
from tests.isas import machine_isas
from tests.variants import DECODERS, ENCODER_DECODERS, ENCODERS, RECURRENT, TRANSFORMERS, parts
from weft.decode import generate_batch
from weft.errors import UsageError
from weft.families import scratch, transformer
from weft.families.family import families
from weft.families.foreign import ForeignConfig
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.trace import Trace

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TARGETS = (3, 6, 1, 9)


def published() -> Iterator[tuple[str, c.ModelConfig]]:
    """Every example of every family, with every head that its architectures have."""
    for name, family in families():
        for example, values in family.EXAMPLES.items():
            for architecture, head in family.ARCHITECTURES.items():
                given = {"model_type": family.MODEL_TYPES[0], "architectures": [architecture], **SPECIAL, **values}
                yield f"{name}-{example}-{architecture}", family.read_config(ForeignConfig(given), head)


def own() -> Iterator[tuple[str, c.ModelConfig]]:
    """What `weft train --family` builds."""
    size = {"layers": 2, "width": 24, "heads": 3, "feed_forward": 40}
    yield "transformer", transformer.config(50, **size)
    for name, (_, build) in scratch.BUILDERS.items():
        yield name, build(50, **size)


def distinct(configs: dict[str, c.ModelConfig]) -> dict[str, c.ModelConfig]:
    """Architectures that mean the same, once."""
    return {name: config for config, name in {config: name for name, config in reversed(configs.items())}.items()}


FAMILIES = distinct(dict(published()) | dict(own()))
CONFIGS = FAMILIES | TRANSFORMERS
GENERATORS = {name: config for name, config in CONFIGS.items()
              if config.decoder is not None and isinstance(config.head, c.LanguageModelHead)}
EVERYWHERE = [(isa, name) for isa in machine_isas() for name in CONFIGS if name in TRANSFORMERS or isa == machine_isas()[-1]]
PARTS_EVERYWHERE = [(isa, name) for isa, name in EVERYWHERE if name in GENERATORS]


def test_the_variants_use_every_part() -> None:
    """A part that no variant has would be compared by nobody."""
    used = {part for config in TRANSFORMERS.values() for part in parts(config)}
    classes = [c.Norm, c.Position, c.RotaryScaling, c.Head]
    wanted = {f"{key}={one.type}" for key, union in zip(("norm", "position", "scaling", "head"), classes, strict=True)
              for one in union.__args__}
    for owner, key in ((c.TransformerStack, "placement"), (c.TransformerStack, "residual"), (c.FeedForward, "activation"),
                       (c.Embedding, "sharing"), (c.Embedding, "scale"), (c.Sinusoidal, "layout"), (c.Transform, "activation"),
                       (c.ClassificationHead, "pooling"), (c.EmbeddingHead, "pooling")):
        wanted |= {f"{key}={value}" for value in get_args(get_type_hints(owner)[key])}
    assert wanted <= used, wanted - used


@pytest.mark.parametrize(("isa", "name"), EVERYWHERE)
def test_whole_texts(monkeypatch: pytest.MonkeyPatch, isa: str, name: str) -> None:
    monkeypatch.setenv("WEFT_ISA", isa)
    config = CONFIGS[name]
    ours, theirs = native(config), reference(config)
    assert ours.model.isa == isa
    traces, texts, targets = (Trace(), Trace()), rows(), rows(TARGETS, seed=1)
    if config.kind == "encoder-decoder" and isinstance(config.head, c.LanguageModelHead):
        pairs = [runner.logits(texts, targets, trace) for runner, trace in zip((ours, theirs), traces, strict=True)]
        lengths = TARGETS
    else:
        pairs = [runner.score(texts, trace=trace) for runner, trace in zip((ours, theirs), traces, strict=True)]
        lengths = LENGTHS
    if isinstance(config.head, c.LanguageModelHead | c.TagHead):
        for mine, want, length in zip(*pairs, lengths, strict=True):
            close(mine[:length], want[:length])
    else:
        close(*pairs)
    same_trace(*traces, LENGTHS, lengths)


@pytest.mark.parametrize("name", ENCODERS)
def test_many_texts(name: str) -> None:
    ours, theirs = native(ENCODERS[name]), reference(ENCODERS[name])
    texts = rows((9, 1, 30, 4, 17, 2, 5))
    for most in (1, 33, 4096):
        for mine, want in zip(ours.score_all(texts, most), theirs.score_all(texts), strict=True):
            close(mine, want)
    assert ours.score_all([]) == []


def test_kinds_of_segment() -> None:
    config, texts = ENCODERS["types"], rows()
    types = [[i % 3 for i in range(length)] for length in LENGTHS]
    ours, theirs = native(config), reference(config)
    for mine, want, length in zip(ours.score(texts, types), theirs.score(texts, types), LENGTHS, strict=True):
        close(mine[:length], want[:length])
    assert np.abs(ours.score(texts, types)[0] - ours.score(texts)[0]).max() > 0.1


@pytest.mark.parametrize("name", [name for name, config in DECODERS.items() if isinstance(config.head, c.LanguageModelHead)])
def test_log_probabilities_of_texts(name: str) -> None:
    ours, theirs = native(DECODERS[name]), reference(DECODERS[name])
    texts = rows((9, 2, 30, 1, 17))
    for mine, want in zip(ours.log_probs(texts, most=20), theirs.log_probs(texts), strict=True):
        close(mine, want)


def begin(config: c.ModelConfig, runner: Any, copies: int, trace: Trace | None = None, watch: bool = False) -> None:
    """Four texts or prompts, one of them empty."""
    if config.encoder is not None:
        runner.start(runner.encode(rows(), trace), copies, watch=watch)
    else:
        runner.start(None, copies, rows((7, 0, 12, 4)), trace)


@pytest.mark.parametrize(("isa", "name"), PARTS_EVERYWHERE)
def test_steps_of_decoding(monkeypatch: pytest.MonkeyPatch, isa: str, name: str) -> None:
    """Beams that move and texts that end: logits, hidden states and traces of every step."""
    monkeypatch.setenv("WEFT_ISA", isa)
    config = GENERATORS[name]
    ours, theirs = native(config), reference(config)
    watch, chance = config.encoder is not None, np.random.default_rng(3)
    for runner in (ours, theirs):
        begin(config, runner, 3, watch=watch)
    if config.encoder is None:
        close(ours.hidden(prompt=True)[0, -7:], theirs.hidden(prompt=True)[0, -7:])
    sources = np.arange(4)
    for step in range(12):
        tokens, traces = chance.integers(5, 40, 3 * len(sources)), (Trace(), Trace())
        close(*(runner.step(tokens, trace=trace) for runner, trace in zip((ours, theirs), traces, strict=True)))
        close(ours.hidden(), theirs.hidden())
        assert sorted(traces[0]) == sorted(traces[1])
        for point in traces[0]:
            close(traces[0][point], traces[1][point])
        if watch:
            close(ours.attention(), theirs.attention())
        kept = [0, 2, 3] if step == 4 else [0, 2] if step == 8 else range(len(sources))
        moved = np.concatenate([3 * source + chance.integers(0, 3, 3) for source in kept])
        sources = sources[kept]
        for runner in (ours, theirs):
            runner.gather(moved)


def test_coverage_goes_on_where_the_longest_source_has_left() -> None:
    runner, lengths = native(ENCODER_DECODERS["untied"]), (40, 3)
    options = GenerationOptions(beams=3, coverage_penalty=0.5, min_new_tokens=3, max_new_tokens=9)
    together = generate_batch(runner, rows(lengths), options, limits=[3, 9])
    assert together[1] == generate_batch(runner, rows(lengths)[1:], options, limits=[9])[0]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_trace_of_several_tokens_is_that_of_each(name: str) -> None:
    config = GENERATORS[name]
    runners = native(config), reference(config)
    tokens = np.random.default_rng(3).integers(5, 40, (4, 5))
    for runner in runners:
        if not runner.traces_together:
            continue
        traces = [Trace() for _ in range(6)]
        begin(config, runner, 1)
        for column, trace in zip(tokens.T, traces[1:], strict=True):
            runner.step(column, best=3, trace=trace)
        begin(config, runner, 1)
        runner.step(tokens, best=3, trace=traces[0])
        for place, trace in enumerate(traces[1:]):
            assert list(trace) == list(traces[0])
            for point in trace:
                found = traces[0][point][place::5]
                if point.endswith("self_attention.weights"):
                    found, behind = np.split(found, [found.shape[3] - 4 + place], 3)
                    assert not behind.any()
                close(found, trace[point])


@pytest.mark.parametrize("name", GENERATORS)
def test_several_tokens_at_once_and_taken_back(name: str) -> None:
    config = GENERATORS[name]
    ours, theirs = native(config), reference(config)
    chance = np.random.default_rng(3)
    for runner in (ours, theirs):
        begin(config, runner, 1)
    for size, back in ((1, 0), (4, 3), (5, 5), (1, 1), (3, 0), (2, 0)):
        tokens = chance.integers(5, 40, (4, size))
        close(ours.step(tokens), theirs.step(tokens))
        for runner in (ours, theirs):
            runner.drop(back)


@pytest.mark.parametrize("name", GENERATORS)
def test_cached_equals_uncached(name: str) -> None:
    config = GENERATORS[name]
    if c.turns_by_length(config.decoder):
        pytest.skip("what is cached keeps the angles of shorter texts")
    runner, texts = native(config), rows((9, 9, 9, 9), seed=4)
    prompts = rows((7, 0, 12, 4))
    begin(config, runner, 1)
    steps = np.stack([runner.step(np.array(column)) for column in zip(*texts, strict=True)], 1)
    if config.encoder is None:
        whole = runner.logits(None, [prompt + text for prompt, text in zip(prompts, texts, strict=True)])
        whole = np.stack([row[len(prompt) : len(prompt) + 9] for row, prompt in zip(whole, prompts, strict=True)])
    else:
        whole = runner.logits(rows(), texts)
    close(steps, whole)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_best_of_a_step(name: str) -> None:
    config = GENERATORS[name]
    ours, theirs = native(config), reference(config)
    for k in (1, 4, config.vocabulary - 3):
        for runner in (ours, theirs):
            begin(config, runner, 2)
        tokens = np.arange(5, 13)
        found, want = (runner.step(tokens, best=k, banned=[7, 0, 3]) for runner in (ours, theirs))
        close(found.log_probs, want.log_probs)
        if k <= 4:  # among all of them some are as likely as others, but for rounding
            np.testing.assert_array_equal(found.tokens, want.tokens)


@pytest.mark.parametrize("isa", machine_isas())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("columns", "best"), [(1, 1), (7, 7), (40, 3), (1300, 9), (513, 513)])
def test_the_best_of_given_logits(monkeypatch: pytest.MonkeyPatch, isa: str, threads: int, columns: int, best: int) -> None:
    """As rules leave them: many equal, many forbidden, a row of nothing else."""
    monkeypatch.setenv("WEFT_ISA", isa)
    logits = np.random.default_rng(2).integers(-4, 5, (9, columns)).astype(np.float32)
    logits[:, 1::3], logits[4] = -np.inf, -np.inf
    runner, theirs = native(DECODERS["decoder_only"], threads=threads), reference(DECODERS["decoder_only"])
    found, want = runner.select(logits, best), theirs.select(logits.copy(), best)
    np.testing.assert_array_equal(found.tokens, want.tokens)
    np.testing.assert_allclose(found.log_probs, want.log_probs, atol=1e-5)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_model_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match="the native engine does not know recurrent stacks; use the torch backend"):
        native(RECURRENT[name])

