"""Every family against Hugging Face transformers, found by discovery: logits, hidden states, attention, decoding, export."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import weft
from tests.conformance import checkpoints as hf
from weft.bundle import open_bundle
from weft.convert import export_bundle, import_checkpoint
from weft.decode import generate_batch
from weft.families.family import families
from weft.foreign_weights import read_tensors
from weft.spec import config as c
from weft.spec.decoding import GenerationOptions
from weft.spec.trace import Trace

FAMILIES = dict(families())
EXAMPLES = [pytest.param(name, example, id=f"{name}-{example}") for name, family in FAMILIES.items()
            for example in family.EXAMPLES]
HEADS = [pytest.param(name, architecture, id=architecture) for name, family in FAMILIES.items()
         for architecture, head in family.ARCHITECTURES.items()
         if head != "language_model" or head != next(iter(family.ARCHITECTURES.values()))]
LENGTHS = [7, 1, 12, 4]


@functools.cache
def imported(folder: Path, name: str, example: str, architecture: str) -> tuple[Any, weft.Model, Path]:
    family = FAMILIES[name]
    keywords = dict(family.EXAMPLES[example])
    theirs = hf.make_checkpoint(folder / "hf", keywords.pop("model_type", family.MODEL_TYPES[0]), architecture, keywords)
    out = import_checkpoint(folder / "hf", folder / "weft").path
    return theirs, weft.load(out, backend="torch"), folder


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @functools.cache
    def make(name: str, example: str, architecture: str = "") -> tuple[Any, weft.Model, Path]:
        architecture = architecture or next(iter(FAMILIES[name].ARCHITECTURES))
        return imported(tmp_path_factory.mktemp(f"{name}-{example}"), name, example, architecture)
    return make


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_logits_at_every_position(made: Any, name: str, example: str, side: str) -> None:
    theirs, ours, _ = made(name, example)
    rng = np.random.default_rng(0)
    sequences = hf.rows(rng, LENGTHS)
    ids, mask = hf.pad(sequences, side, ours.config.special.pad)
    kind = ours.config.kind
    if kind == "encoder-decoder":
        targets = [[ours.config.special.start, *row] for row in hf.rows(rng, [3, 6, 2, 9])]
        if side == "left" and counts_padding(ours.config):
            for source, target in zip(sequences, targets, strict=True):
                found = theirs(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]
                close(ours.logits([source], [target])[0], found)
            return
        target_ids, _ = hf.pad(targets, "right")
        found = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=target_ids).logits
        logits, expected = ours.logits(sequences, targets), hf.valid(found, targets, "right")
        sequences = targets
    elif kind == "encoder-only":
        keywords = {} if side == "right" else own_positions(theirs, ours, mask)
        found = theirs(input_ids=ids, attention_mask=mask, **keywords).logits
        logits, expected = ours.runner.score(sequences), hf.valid(per_label(found), sequences, side)
    else:
        alone = c.turns_by_length(ours.config.decoder)  # the oracle mixes lengths of a batch
        for row in sequences[:: 1 if alone else len(sequences)]:
            close(ours.logits([row])[0], theirs(torch.tensor([row])).logits[0])
        if alone:
            return
        found = theirs(input_ids=ids, attention_mask=mask, **own_positions(theirs, ours, mask)).logits
        logits, expected = ours.logits(sequences), hf.valid(found, sequences, side)
    for row, want in zip(hf.valid(logits, sequences, "right"), expected, strict=True):
        close(row, want)


def per_label(logits: torch.Tensor) -> torch.Tensor:
    """[B, T, labels], from [B, T] too where there is one label."""
    return logits if logits.dim() == 3 else logits[:, :, None]


def counts_padding(config: c.ModelConfig) -> bool:
    """Whether the oracle's encoder counts what is left of a text as positions (BART, Marian); M2M100 counts the mask."""
    position = config.encoder.position if isinstance(config.encoder, c.TransformerStack) else None
    return isinstance(position, c.Learned) or (isinstance(position, c.Sinusoidal) and not position.inclusive)


def own_positions(theirs: Any, ours: weft.Model, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """position_ids of text that is padded on the left, for models that take them; others count the mask."""
    if "position_ids" not in inspect.signature(theirs.forward).parameters:
        return {}
    stack = ours.config.decoder or ours.config.encoder
    offset = stack.position.offset if isinstance(stack.position, c.Learned) and ours.config.decoder is None else 0
    return {"position_ids": hf.positions(mask) + offset}


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
@torch.no_grad()
def test_hidden_states_and_attention(made: Any, name: str, example: str) -> None:
    theirs, ours, _ = made(name, example)
    row = hf.rows(np.random.default_rng(1), [11])[0]
    trace, ids = Trace(), torch.tensor([row])
    traced = theirs.config._attn_implementation == "eager"
    config, asked = ours.config, {"output_hidden_states": True, "output_attentions": traced}
    if config.kind == "encoder-decoder":
        found = theirs(input_ids=ids, decoder_input_ids=ids[:, :5], **asked)
        ours.logits([row], [row[:5]], trace=trace)
        close(trace["encoder.hidden"], found.encoder_last_hidden_state)
        compare(ours, trace, "decoder", found.decoder_hidden_states, found.decoder_attentions)
        compare(ours, trace, "encoder", found.encoder_hidden_states, found.encoder_attentions)
        for layer, weights in enumerate(found.cross_attentions):
            close(trace[f"decoder.blocks.{layer}.cross_attention.weights"], weights)
        return
    found = theirs(input_ids=ids, **asked)
    if config.kind == "encoder-only":
        ours.runner.score([row], trace=trace)
        compare(ours, trace, "encoder", found.hidden_states, found.attentions)
    else:
        ours.logits([row], trace=trace)
        compare(ours, trace, "decoder", found.hidden_states, found.attentions)


def compare(ours: weft.Model, trace: Trace, name: str, hidden: Any, attentions: Any) -> None:
    stack: Any = getattr(ours.config, name)
    for layer in range(stack.layers - 1):
        close(trace[f"{name}.blocks.{layer}.hidden"], hidden[layer + 1])
    last = np.asarray(hidden[stack.layers])  # after the final norm in most models, before it in some; OPT: mapped out
    final = trace[f"{name}.hidden"]
    if last.shape[-1] != ours.config.width:
        close(ours.runner.model.head.prepare(torch.from_numpy(final)), last)
    else:
        options = [final, trace[f"{name}.blocks.{stack.layers - 1}.hidden"]]
        assert min(float(np.abs(option - last).max()) for option in options) < 2e-4
    for layer, weights in enumerate(attentions or ()):
        close(trace[f"{name}.blocks.{layer}.self_attention.weights"], weights)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
@pytest.mark.parametrize("beams", [1, 4])
def test_decoding_gives_the_same_tokens(made: Any, name: str, example: str, beams: int) -> None:
    theirs, ours, _ = made(name, example)
    config = ours.config
    if config.kind == "encoder-only":
        pytest.skip("an encoder generates nothing")
    sequences = hf.rows(np.random.default_rng(2), LENGTHS)
    options = GenerationOptions(beams=beams, max_new_tokens=10, length_formula="average",
                                early_stopping="heuristic" if beams > 1 else "exact")
    if config.kind == "encoder-decoder":
        found = generate_batch(ours.runner, sequences, options)
    else:
        found = generate_batch(ours.runner, None, options, prompts=sequences)
    cache = config.encoder is None or config.decoder.layers <= config.encoder.layers  # T5's has room for no more
    for row, hypotheses in zip(sequences, found, strict=True):  # one by one: the oracle's batches change its results
        out = theirs.generate(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.int64),
                              generation_config=transformers.GenerationConfig(
            num_beams=beams, max_new_tokens=10, do_sample=False, pad_token_id=0, eos_token_id=config.special.eos,
            decoder_start_token_id=config.special.start, bos_token_id=1, use_cache=cache))
        new = out[0, 1 if config.kind == "encoder-decoder" else len(row):].tolist()
        assert list(hypotheses[0].tokens) == new[: len(hypotheses[0].tokens)]
        assert all(token == 0 for token in new[len(hypotheses[0].tokens):])


@pytest.mark.parametrize(("name", "architecture"), HEADS)
@torch.no_grad()
def test_other_heads(made: Any, name: str, architecture: str) -> None:
    for example in list(FAMILIES[name].EXAMPLES)[:2]:
        theirs, ours, _ = made(name, example, architecture)
        sequences, head = hf.rows(np.random.default_rng(3), LENGTHS), ours.config.head
        if ours.config.kind == "encoder-decoder":
            sequences = [[*row, ours.config.special.eos] for row in sequences]  # whose state tells the class
        ids, mask = hf.pad(sequences, "right", ours.config.special.pad)
        found = theirs(input_ids=ids, attention_mask=mask)
        scores = ours.runner.score(sequences)
        if isinstance(head, c.EmbeddingHead):
            for row, own, want in zip(scores, sequences, found.last_hidden_state, strict=True):
                close(row, want[: len(own)].mean(0))
        elif isinstance(head, (c.TagHead, c.LanguageModelHead)):
            for row, own, want in zip(scores, sequences, per_label(found.logits), strict=True):
                close(row[: len(own)], want[: len(own)])
        else:
            close(scores, found.logits)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
@torch.no_grad()
def test_export_is_the_checkpoint_again(made: Any, name: str, example: str) -> None:
    theirs, _ours, folder = made(name, example)
    check_export(folder, theirs)


@pytest.mark.parametrize(("name", "architecture"), HEADS)
def test_export_of_other_heads(made: Any, name: str, architecture: str) -> None:
    theirs, _, folder = made(name, next(iter(FAMILIES[name].EXAMPLES)), architecture)
    check_export(folder, theirs)


def check_export(folder: Path, theirs: Any) -> None:
    out = export_bundle(open_bundle(folder / "weft"), folder / "again")
    before, after = read_tensors(folder / "hf"), read_tensors(out)
    dropped = {name for name, _ in import_checkpoint(folder / "hf", folder / "once_more").dropped}
    assert set(before) - set(after) == dropped & set(before), "all that is not exported has been named, as the file has it"
    for tensor, stored in after.items():
        assert stored.kind == before[tensor].kind
        assert np.array_equal(stored.bits, before[tensor].bits), tensor
    attention = theirs.config._attn_implementation
    again, report = type(theirs).from_pretrained(out, attn_implementation=attention, output_loading_info=True)
    # parts that the model has but does not use
    unused = {"pooler", "seq_relationship", "cls.predictions", "model.shared", "lm_head.bias", *computed(again)}
    assert not [key for key in report["missing_keys"] if not any(part in key for part in unused)], report
    assert not report["unexpected_keys"], report
    classifier = "ForSequenceClassification" in type(again).__name__
    ids = torch.tensor([[5, 6, 7, 8, 9, 2 if classifier else 10]])
    keywords = {"decoder_input_ids": ids[:, :3]} if again.config.is_encoder_decoder and not classifier else {}
    with torch.no_grad():
        mine, want = again.eval()(input_ids=ids, **keywords), theirs(input_ids=ids, **keywords)
    np.testing.assert_allclose(np.asarray(mine[0]), np.asarray(want[0]), atol=1e-6)  # sums depend on where memory lies
    second = import_checkpoint(out, folder / "second")
    first = open_bundle(folder / "weft")
    assert second.config == first.config
    assert all(np.array_equal(a.bits, b.bits) for a, b in zip(first.tensors().values(),
                                                               open_bundle(second.path).tensors().values(), strict=True))


def computed(model: Any) -> set[str]:
    """Modules whose weights need no file: static positions."""
    return {name for name, module in model.named_modules() if hasattr(module, "create_weight")}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@torch.no_grad()
def test_half_precision_and_shards(tmp_path: Path, name: str, dtype: str) -> None:
    """Numbers in 16 bits, in several files, come in and go out as they are."""
    family = FAMILIES[name]
    keywords = dict(family.EXAMPLES[next(iter(family.EXAMPLES))])
    theirs = hf.make_checkpoint(tmp_path / "hf", keywords.pop("model_type", family.MODEL_TYPES[0]),
                                next(iter(family.ARCHITECTURES)), keywords, dtype=getattr(torch, dtype), shard="8KB")
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists()
    ours = weft.load(import_checkpoint(tmp_path / "hf", tmp_path / "weft").path, backend="torch")
    row = [5, 9, 11, 30, 8]
    if ours.config.kind == "encoder-decoder":
        ids = torch.tensor([row])
        close(ours.logits([row], [row[:3]])[0], theirs(ids, decoder_input_ids=ids[:, :3]).logits[0])
    elif ours.config.kind == "encoder-only":
        close(ours.runner.score([row])[0], per_label(theirs(torch.tensor([row])).logits)[0])
    else:
        close(ours.logits([row])[0], theirs(torch.tensor([row])).logits[0])
    out = export_bundle(open_bundle(tmp_path / "weft"), tmp_path / "out")
    before, after = read_tensors(tmp_path / "hf"), read_tensors(out)
    assert all(np.array_equal(before[key].bits, stored.bits) and before[key].kind == stored.kind
               for key, stored in after.items())
