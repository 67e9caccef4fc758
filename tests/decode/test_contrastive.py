"""Contrastive search against Hugging Face's published algorithm, written out over Hugging Face's models, nothing cached.

transformers 5 loads it as code from elsewhere; this follows `_contrastive_search` and `_ranking_fast` of transformers 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests import bundles
from tests.decode.fake import FakeRunner
from weft.backends.torch import TorchRunner
from weft.bundle import open_bundle
from weft.decode import generate_batch
from weft.errors import UsageError, WindowError
from weft.model import Model, Result
from weft.spec.decoding import GenerationOptions
from weft.spec.events import Hypothesis

PAD, START, EOS, LIMIT = 0, 0, 2, 12


def reference(forward: Any, prompt: list[int], k: int, alpha: float, banned: tuple[int, ...] = ()) -> list[int]:
    """forward: ids [B, T] -> (logits [B, T, V], last hidden states [B, T, D])."""
    ids, found = torch.tensor([prompt]), []
    for _ in range(LIMIT):
        logits, states = forward(ids)
        logits = logits[:, -1].double()
        logits[:, list(banned)] = -torch.inf
        likely, tokens = logits.softmax(-1).topk(k, dim=-1)
        candidates = torch.cat((ids.expand(k, -1), tokens.view(k, 1)), 1)
        next_hidden = forward(candidates)[1][:, -1:]
        context = states / states.norm(dim=2, keepdim=True)
        norm_next = next_hidden / next_hidden.norm(dim=2, keepdim=True)
        cosines = torch.matmul(context.expand(k, -1, -1), norm_next.transpose(1, 2)).squeeze(-1)  # [K, T]
        penalty, _ = torch.max(cosines, dim=-1)
        chosen = ((1.0 - alpha) * likely.view(-1) - alpha * penalty).argmax()
        found.append(int(tokens[0, chosen]))
        if found[-1] == EOS:
            break
        ids = torch.cat((ids, tokens[:, chosen : chosen + 1]), 1)
    return found


def tokens_of(result: Result) -> list[int]:
    return [*result.tokens, *([EOS] if result.finished else [])]


def seq2seq_forward(model: Any, source: list[int]) -> Any:
    def forward(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            out = model(input_ids=torch.tensor([source]).expand(len(ids), -1), decoder_input_ids=ids, use_cache=False,
                        output_hidden_states=True)
        return out.logits, out.decoder_hidden_states[-1]
    return forward


def causal_forward(model: Any) -> Any:
    def forward(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            out = model(ids, use_cache=False, output_hidden_states=True)
        return out.logits, out.hidden_states[-1]
    return forward


@pytest.mark.parametrize("alpha,k", [(0.6, 4), (0.3, 8)])
def test_an_encoder_decoder_gives_the_reference_tokens_whatever_the_batch(tmp_path: Path, alpha: float, k: int) -> None:
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(bundles.checkpoint(tmp_path, "t5")).eval()
    model = Model(open_bundle(tmp_path / "made"))
    rng = np.random.default_rng(0)
    sources = [[*rng.integers(5, bundles.WORDS, rng.integers(1, 12)).tolist(), EOS] for _ in range(16)]
    options = {"penalty_alpha": alpha, "top_k": k, "max_new_tokens": LIMIT, "banned": (PAD, 7)}
    found = [tokens_of(result) for result in model.generate(sources, **options)]
    assert found == [reference(seq2seq_forward(theirs, source), [START], k, alpha, (PAD, 7)) for source in sources]
    assert found == [tokens_of(model.generate([source], **options)[0]) for source in sources]
    plain = model.generate(sources, max_new_tokens=LIMIT)
    assert all(tokens != tokens_of(result) for tokens, result in zip(found, plain, strict=True))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_only_model_gives_the_reference_tokens_for_ragged_prompts(tmp_path: Path, family: str) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(bundles.checkpoint(tmp_path, family)).eval()
    model = Model(open_bundle(tmp_path / "made"))
    rng = np.random.default_rng(1)
    prompts = [rng.integers(5, bundles.WORDS, size).tolist() for size in (1, 4, 9, 2, 6)]
    found = model.generate(prompts, penalty_alpha=0.6, top_k=5, max_new_tokens=LIMIT)
    expected = [reference(causal_forward(theirs), prompt, 5, 0.6) for prompt in prompts]
    assert [tokens_of(result) for result in found] == expected
    assert expected != [tokens_of(result) for result in model.generate(prompts, max_new_tokens=LIMIT)]


def run(options: GenerationOptions, **rest: Any) -> list[tuple[Hypothesis, ...]]:
    return generate_batch(FakeRunner(12), [[5], [4, 6, 7], [7, 7]], options, **rest)


def test_a_row_does_not_depend_on_its_neighbours_and_reports_log_probabilities() -> None:
    options = GenerationOptions(penalty_alpha=0.5, top_k=4, max_new_tokens=9, logprobs=3, min_new_tokens=2)
    together = run(options)
    for index, source in enumerate([[5], [4, 6, 7], [7, 7]]):
        assert generate_batch(FakeRunner(12), [source], options)[0] == together[index]
    for (found,) in together:
        assert len(found.tops) == len(found.tokens) == len(found.log_probs) >= 2
        assert all(p <= top[0][1] for p, top in zip(found.log_probs, found.tops, strict=True))
        assert 3 not in found.tokens[:2]


def test_likeness_counts_for_nothing_with_a_tiny_alpha_and_limits_hold() -> None:
    greedy = [found[0].tokens for found in run(GenerationOptions(max_new_tokens=9))]
    assert [found[0].tokens for found in run(GenerationOptions(penalty_alpha=1e-9, top_k=5, max_new_tokens=9))] == greedy
    lengths = [len(found[0].tokens) for found in run(GenerationOptions(penalty_alpha=0.5, top_k=99), limits=[1, 0, 3])]
    assert lengths[0] == 1 and lengths[1] == 0 and lengths[2] <= 3


def test_a_forbidden_token_is_not_chosen_for_its_novelty() -> None:
    options = GenerationOptions(penalty_alpha=1.0, top_k=12, max_new_tokens=9, banned=tuple(range(8)))
    rules = {"none": lambda logits, rows: logits}  # by way of the logits, and by the runner's own choice
    for rest in ({}, {"rules": rules}):
        assert all(token >= 8 or token == 3 for (found,) in run(options, **rest) for token in found.tokens)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match=r"penalty_alpha=0.6 chooses among the top_k likeliest, but top_k is 0"):
        GenerationOptions(penalty_alpha=0.6)
    with pytest.raises(WindowError, match="64 new tokens do not fit the model's window of 64; ask for at most 63"):
        run(GenerationOptions(penalty_alpha=0.6, top_k=4, max_new_tokens=64))


def test_a_recurrent_model_searches_too(tmp_path: Path) -> None:
    from weft.families import rnn
    from weft.nn.model import Model as Network

    config = rnn.config(40, 16, 16)
    runner = TorchRunner(Network(config).initialise(0))
    sources = [[5, 6, config.special.eos], [7, config.special.eos]]
    options = GenerationOptions(penalty_alpha=0.9, top_k=6, max_new_tokens=8)
    together = generate_batch(runner, sources, options)
    assert [found[0].tokens for found in together] != [
        found[0].tokens for found in generate_batch(runner, sources, GenerationOptions(max_new_tokens=8))]
    assert [generate_batch(runner, [source], options)[0][0].tokens for source in sources] == [f[0].tokens for f in together]
