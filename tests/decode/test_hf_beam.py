"""Beam search against Hugging Face's own, over Hugging Face's own model: no Weft model and no Weft backend between.

The model computes in float64 and hands over float32, so both searches see the same bits whatever the batch's shape,
and the whole n-best list can be compared, scores included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from weft.decode import generate_batch
from weft.spec.decoding import GenerationOptions
from weft.spec.runner import Best

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PAD, START, EOS, VOCABULARY, LIMIT, BATCH = 0, 2, 3, 60, 20, 110


class ChaoticHead(torch.nn.Linear):  # type: ignore[misc,name-defined]
    """A small random model repeats one token for ever; this head makes any change of the hidden state matter."""

    def forward(self, hidden: Any) -> Any:
        return 2.5 * torch.sin(20.0 * super().forward(hidden))


@cache
def tiny_marian(eos_bias: float) -> Any:
    """Two layers, width 16, random weights. A higher `eos_bias` ends sequences earlier."""
    torch.manual_seed(3)
    model = transformers.MarianMTModel(transformers.MarianConfig(
        vocab_size=VOCABULARY, d_model=16, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
        encoder_attention_heads=2, decoder_attention_heads=2, pad_token_id=PAD, eos_token_id=EOS,
        decoder_start_token_id=START, forced_eos_token_id=None, max_position_embeddings=64)).eval()
    model.lm_head = ChaoticHead(16, VOCABULARY, bias=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name and "norm" not in name:
                parameter.normal_(0.0, 0.5)
        model.final_logits_bias[0, EOS] = eos_bias
        model.final_logits_bias[0, PAD] = -1e4  # never likely, on both sides: no ban that would act after the softmax
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=START, forced_eos_token_id=None)
    return model.double()


def padded(rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Right-padded ids and the mask of what is real, int64 [B, S]."""
    width = max(map(len, rows))
    return {"input_ids": torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])}


def select(logits: np.ndarray, best: int) -> Best:
    values, ids = torch.from_numpy(logits).log_softmax(1).sort(dim=1, descending=True, stable=True)
    return Best(ids[:, :best].numpy(), values[:, :best].numpy())


class MarianRunner:
    """The four verbs over a Hugging Face encoder-decoder; every step reads the whole prefix again."""

    eos, start_token, vocabulary_size, max_target = EOS, START, VOCABULARY, 64

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, source: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        batch = padded(source)
        return self.model.get_encoder()(**batch).last_hidden_state, batch["attention_mask"]

    def start(self, memory: tuple[Any, Any], copies: int, prefix: Sequence[Sequence[int]] | None = None) -> None:
        self.hidden, self.mask = (part.repeat_interleave(copies, 0) for part in memory)
        self.prefix = torch.empty(len(self.mask), 0, dtype=torch.int64)

    def step(self, tokens: np.ndarray, best: int | None = None, banned: Sequence[int] = ()) -> np.ndarray | Best:
        self.prefix = torch.cat((self.prefix, torch.from_numpy(tokens)[:, None]), 1)
        logits = self.model(encoder_outputs=(self.hidden,), attention_mask=self.mask, decoder_input_ids=self.prefix,
                            use_cache=False).logits[:, -1].float()
        if best is None:
            return logits.numpy()
        logits[:, list(banned)] = -torch.inf
        return self.select(logits.numpy(), best)

    select = staticmethod(select)

    def gather(self, rows: np.ndarray) -> None:
        index = torch.from_numpy(rows)
        self.hidden, self.mask, self.prefix = (part[index] for part in (self.hidden, self.mask, self.prefix))


def ragged_sources(count: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[*rng.integers(4, VOCABULARY, rng.integers(1, 15)).tolist(), EOS] for _ in range(count)]


def cut(row: list[int]) -> tuple[int, ...]:
    """Without the start token and the padding after the end."""
    row = row[1:]
    return tuple(row[: row.index(EOS) + 1] if EOS in row else [token for token in row if token != PAD])


def reference(model: Any, sources: Sequence[Sequence[int]], n_best: int, **settings: Any
              ) -> tuple[list[list[tuple[int, ...]]], list[list[float]]]:
    """Tokens and scores of each source's `n_best` sequences, by Hugging Face."""
    out = model.generate(**padded(sources), max_new_tokens=LIMIT, do_sample=False, num_return_sequences=n_best,
                         use_cache=False, return_dict_in_generate=True, output_scores=True, **settings)
    rows = [cut(row) for row in out.sequences.tolist()]
    scores = out.sequences_scores.tolist() if n_best > 1 else [0.0] * len(rows)
    groups = range(0, len(rows), n_best)
    return [rows[start : start + n_best] for start in groups], [scores[start : start + n_best] for start in groups]


@pytest.mark.parametrize("beams,theirs,ours,alpha,eos_bias", [
    (1, None, "exact", 1.0, 0.5),
    (4, False, "heuristic", 1.0, 0.5), (4, True, "first", 1.0, 0.5), (4, "never", "exact", 1.0, 0.5),
    (5, False, "heuristic", 1.0, 1.5), (5, True, "first", 1.0, 1.5), (5, "never", "exact", 1.0, 1.5),
    (5, False, "heuristic", 0.0, 1.5), (4, "never", "exact", 0.0, 1.5), (4, False, "heuristic", -1.0, 0.5),
])
def test_the_whole_n_best_list_is_hugging_faces(beams: int, theirs: object, ours: str, alpha: float, eos_bias: float
                                                ) -> None:
    torch.set_num_threads(1)
    model, sources, lengths = tiny_marian(eos_bias), ragged_sources(220), set()
    settings = {"num_beams": beams, "early_stopping": theirs, "length_penalty": alpha} if beams > 1 else {}
    options = GenerationOptions(beams=beams, n_best=beams, early_stopping=ours, length_formula="average",
                                length_penalty=alpha, max_new_tokens=LIMIT)
    with torch.inference_mode():
        for start in range(0, len(sources), BATCH):
            batch = sources[start : start + BATCH]
            tokens, scores = reference(model, batch, beams, **settings)
            found = generate_batch(MarianRunner(model), batch, options)
            assert [[hypothesis.tokens for hypothesis in best] for best in found] == tokens
            if beams > 1:
                np.testing.assert_allclose([[hypothesis.score for hypothesis in best] for best in found], scores,
                                           rtol=1e-5)
            lengths |= {len(best[0].tokens) for best in found}
    assert len(lengths) >= 4, f"the random model ends at too few lengths, {sorted(lengths)}, to mean something"
