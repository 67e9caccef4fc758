"""The facade: texts or ids in, results out, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weft
from tests import bundles
from weft.bundle import save_bundle
from weft.errors import UnknownNameError, UsageError, WindowError
from weft.nn.model import Model as Network
from weft.spec import config as c
from weft.spec.events import FinishedEvent, StepEvent, TokenEvent

TEXTS = ["one two.", "", "three four five six.", "   ", "nine."]


@pytest.fixture(scope="module", name="model")
def _model(tiny_bundle: Path) -> weft.Model:
    return weft.load(tiny_bundle)


def test_translate_keeps_order_and_blanks(model: weft.Model) -> None:
    outputs = model.translate(TEXTS)
    assert outputs[1] == "" and outputs[3] == "   "
    assert outputs == [model.translate(text) for text in TEXTS]
    assert model.translate([]) == []


def test_texts_and_ids_mean_the_same(model: weft.Model) -> None:
    ids = model.tokenizer.encode(TEXTS[0])
    by_text, by_ids, by_both = model.generate([TEXTS[0], ids, [*ids, 3]], beams=4, max_new_tokens=20)
    assert by_text == by_ids == by_both
    assert by_text.text == model.tokenizer.decode(by_text.tokens)
    assert len(by_text.logprobs) == len(by_text.tokens) + by_text.finished


def test_scores_agree_with_logits(model: weft.Model) -> None:
    source = [*model.tokenizer.encode(TEXTS[2]), 3]
    (result,) = model.generate([source], beams=3, max_new_tokens=8, length_penalty=0.0, banned=())
    target = [2, *result.tokens, *([3] if result.finished else [])]
    logits = model.logits([source], [target[:-1]])[0].astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = log_probs[np.arange(len(target) - 1), target[1:]]
    np.testing.assert_allclose(result.logprobs, expected, atol=1e-4)
    assert result.score == pytest.approx(expected.sum(), abs=1e-3)


def test_n_best(model: weft.Model) -> None:
    (result,) = model.generate(["one."], beams=4, n_best=3)
    assert [one.score for one in result.alternatives] == sorted((one.score for one in result.alternatives), reverse=True)
    assert result.alternatives[0].tokens == result.tokens and len(result.alternatives) == 3


def test_stream(model: weft.Model) -> None:
    events = list(model.stream("one two three.", beams=1, max_new_tokens=12))
    text = "".join(event.text for event in events if isinstance(event, TokenEvent))
    assert isinstance(events[-1], FinishedEvent)
    assert text == model.translate("one two three.", beams=1, max_new_tokens=12)
    assert any(isinstance(event, StepEvent) for event in model.stream("one.", beams=3, max_new_tokens=4))


def test_stream_of_a_blank_text_has_no_tokens(model: weft.Model) -> None:
    (event,) = model.stream(" ")
    assert event.hypotheses[0].tokens == ()


def test_long_input_is_split_or_refused(model: weft.Model) -> None:
    text = "one two three four. five six seven! eight nine zero? " * 3
    model.notices.clear()
    whole = model.translate(text)
    assert "more than the model's window of 40; it was translated in" in model.notices[0]
    assert isinstance(whole, str)
    with pytest.raises(WindowError, match=r"input 1 has \d+ tokens, .* window is 40"):
        model.translate(text, too_long="refuse")
    with pytest.raises(WindowError, match="input 2 has 51 tokens"):
        model.generate(["one.", [5] * 50])


def test_sampling_is_repeatable_and_independent_of_the_batch(model: weft.Model) -> None:
    together = model.translate(["one.", "two."], sample=True, temperature=2.0, seed=3, max_new_tokens=10)
    assert together == model.translate(["one.", "two."], sample=True, temperature=2.0, seed=3, max_new_tokens=10)
    assert together[0] == model.translate("one.", sample=True, temperature=2.0, seed=3, max_new_tokens=10)


def test_a_seed_for_each_input(model: weft.Model) -> None:
    """It draws what the input draws alone with that seed; of pieces each has a stream of its own."""
    options = {"sample": True, "temperature": 2.0, "max_new_tokens": 10}
    long = "one two three four. five six seven! eight nine zero? " * 3
    texts, seeds = ["one.", long, "", "one.", "two."], [5, 5, 0, 7, np.int64(5)]
    found = model.translate(texts, seeds=seeds, **options)
    assert found == [model.translate(text, seed=int(seed), **options) for text, seed in zip(texts, seeds, strict=True)]
    assert found[0] != found[3] and model.translate("two.", seeds=[5], **options) == found[4]
    for bad, message in (([1], "2 inputs, but 1 seeds; give one for each, or seed for all"),
                         (3, "seeds is 3; it must be a list of whole numbers"),
                         ([1, -1], "the seed of input 2 is -1; it must be 0 or more; the nearest is 0"),
                         ([1, "a"], "the seed of input 2 is 'a'; it must be a whole number, 0 or more")):
        with pytest.raises(UsageError, match=message):
            model.translate(["one.", "two."], seeds=bad, **options)
    with pytest.raises(UsageError, match="seed and seeds contradict each other; drop one of the two"):
        model.translate(["one."], seed=1, seeds=[1], **options)


def test_lengths_at_the_border_of_the_window(model: weft.Model) -> None:
    window = model.config.window.target
    (result,) = model.generate(["one."], min_new_tokens=window, max_new_tokens=window, beams=1)
    assert len(result.logprobs) == window
    for options in ({"max_new_tokens": window + 1}, {"min_new_tokens": window + 1}):
        name = "" if "max_new_tokens" in options else r"at least "
        with pytest.raises(WindowError, match=rf"{name}{window + 1} new tokens .*do not fit the model's window of {window}; "
                                              rf"ask for at most {window}"):
            model.generate(["one."], beams=1, **options)


def test_a_prompt_and_its_completion_fill_the_window_to_the_last_place(tmp_path: Path) -> None:
    completer = weft.load(bundles.bundle(tmp_path / "m", "gpt2"))
    window = completer.config.window.target
    (found,) = completer.generate([[5] * (window - 3)], min_new_tokens=4)
    assert len(found.logprobs) == 4
    with pytest.raises(WindowError, match=rf"prompt 1 has {window - 3} tokens; with 5 new ones, the last of which is not read, "
                                          rf"that is 1 more than the model's window of {window}.*\(min_new_tokens\)"):
        completer.generate([[5] * (window - 3)], min_new_tokens=5)
    (cut,) = completer.generate([[5] * (window + 9)], min_new_tokens=4, truncate="left")
    assert (len(cut.logprobs), cut.tokens) == (4, found.tokens)
    assert completer.generate([[5] * (window + 9)], max_new_tokens=0)[0].tokens == ()
    with pytest.raises(WindowError, match=f"prompt 1 has {window + 2} tokens"):
        completer.generate([[5] * (window + 2)], max_new_tokens=0, prompt_logprobs=True)
    assert len(completer.generate([[5] * (window + 1)], max_new_tokens=0, prompt_logprobs=True)[0].prompt_logprobs) == window


def test_answers_that_are_missing_are_told(model: weft.Model) -> None:
    model.notices.clear()
    (found,) = model.generate(["one."], beams=4, n_best=4, forced_first=7, max_new_tokens=1)
    assert found.alternatives == () and model.notices == [
        "input 1 has 1 answers instead of 4 (n_best): 4 beams found no more; ask for more beams"]
    model.notices.clear()


def test_what_is_refused(model: weft.Model) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown generation option 'beam'. Did you mean 'beams'"):
        model.translate("a", beam=3)
    with pytest.raises(UsageError, match=r"source 0 holds token id 99999; ids run from 0 to \d+"):
        model.generate([[99999]])
    with pytest.raises(UsageError, match=r"this model is encoder-decoder: call logits\(source_ids, target_ids\)"):
        model.logits([[5]])
    for bad in ([5, 6, 7], [None], [[1.7]], None, 3, [{5: 6}], b"one"):
        with pytest.raises(UsageError, match="expected token ids"):
            model.generate(bad)
    with pytest.raises(UsageError, match=r"input 2 is 1\.5; expected token ids"):
        model.translate(["one.", 1.5])
    with pytest.raises(UsageError, match="too_long is 'spilt'; it must be 'split' or 'refuse'; the nearest is 'split'"):
        model.translate("one.", too_long="spilt")
    with pytest.raises(UsageError, match="1 sources and 2 targets; logits need as many of each"):
        model.logits([[5]], [[2], [2, 5]])
    with pytest.raises(UsageError, match=r"no rows of token ids|has no tokens"):
        model.logits([[5]], [[]])
    with pytest.raises(WindowError, match="target 0 has 41 tokens; the model's window is 40"):
        model.logits([[5]], [[5] * 41])


def test_logits_of_ragged_rows(model: weft.Model) -> None:
    logits = model.logits([[5, 6, 3], [7, 3]], [[2, 8], [2, 9, 10]])
    assert logits.shape == (2, 3, model.config.vocabulary) and logits.dtype == np.float32
    np.testing.assert_allclose(logits[0, :2], model.logits([5, 6, 3], [2, 8])[0], atol=1e-5)


def test_a_decoder_only_model_gives_logits(tmp_path: Path) -> None:
    tokenizer = weft.Tokenizer.train("byte_bpe", ["hello world"] * 3, 270)
    stack = c.TransformerStack(2, c.Attention(4), c.FeedForward(64), position=c.Rotary(), placement="pre", final_norm=True)
    config = c.ModelConfig(len(tokenizer), 32, decoder=stack, embedding=c.Embedding("target"))
    config = config.with_tokenizer(tokenizer.fingerprint, len(tokenizer))
    weights = {name: tensor.detach().numpy() for name, tensor in Network(config).initialise(0).named_parameters()}
    model = weft.load(save_bundle(tmp_path / "m", config, weights, tokenizer.to_json(), {}, "# m\n"))
    logits = model.logits([[5, 6, 7], [8]])
    assert logits.shape == (2, 3, len(tokenizer))
    np.testing.assert_allclose(logits[1, :1], model.logits([8])[0], atol=1e-5)
    with pytest.raises(UsageError, match="does not translate: it is decoder-only"):
        model.translate("hello")
    with pytest.raises(UsageError, match=r"decoder-only: call logits\(ids\)"):
        model.logits([5], [6])


def test_trace_of_attention(model: weft.Model) -> None:
    trace = weft.Trace("*.cross_attention.weights")
    model.logits([[5, 6, 7, 3]], [[2, 8]], trace=trace)
    assert list(trace) == ["decoder.blocks.0.cross_attention.weights"]
    assert trace["decoder.blocks.0.cross_attention.weights"].shape == (1, 2, 2, 4)


def test_a_preset_stands_between_the_defaults_and_the_options(model: weft.Model) -> None:
    hf = model.options(preset="hf", length_formula="wu")
    assert (hf.beam_scores, hf.early_stopping, hf.length_formula) == ("raw", "heuristic", "wu")
    assert hf.beams == model.defaults.beams and model.options().beam_scores == "renormalised"
    assert model.generate(TEXTS[:1], preset="hf", max_new_tokens=5)[0].tokens
    assert list(model.stream(TEXTS[0], preset="vllm", max_new_tokens=5))
    with pytest.raises(UnknownNameError, match=r"unknown preset 'vlm'. Did you mean 'vllm'"):
        model.translate(TEXTS, preset="vlm")
