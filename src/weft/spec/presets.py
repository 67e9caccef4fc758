"""Option values with which Weft follows another tool (docs/decoding.md, "Where tools differ"). No torch.

A preset says how a tool does what it is asked for, never how much of it: it turns nothing on. A tool's hidden defaults,
such as a top_k of 50, are in that table and left to the caller.
"""

from __future__ import annotations

from typing import Any

from weft.errors import UnknownNameError, UsageError
from weft.spec.ranges import shown

PRESETS: dict[str, dict[str, Any]] = {
    # transformers, generation/utils.py: _get_logits_processor (order), _beam_search (scores, length, end).
    "hf": {"order": ("logit_bias", "encoder_repetition_penalty", "repetition_penalty", "no_repeat_ngram",
                     "encoder_no_repeat_ngram", "banned_words", "forced_first", "forced_last",
                     "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff"),
           "beam_scores": "raw", "length_formula": "average", "early_stopping": "heuristic"},
    # vllm/v1/sample/sampler.py: Sampler (order); vllm/beam_search.py: scores, and no end before the limit.
    "vllm": {"order": ("banned_words", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty",
                       "temperature", "min_p", "top_k", "top_p"),
             "beam_scores": "renormalised", "length_formula": "average", "early_stopping": "exact"},
    # CTranslate2, src/decoding.cc: make_logits_processors and BeamSearch; src/sampling.cc: RandomSampler.
    "ctranslate2": {"order": ("repetition_penalty", "no_repeat_ngram", "banned_words", "top_k", "temperature", "top_p"),
                    "beam_scores": "renormalised", "length_formula": "average", "early_stopping": "first"},
    # llama.cpp, common/common.h: common_params_sampling.samplers (top_n_sigma, before these, runs first everywhere).
    "llama.cpp": {"order": ("logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty",
                            "top_k", "typical_p", "top_p", "min_p", "temperature")},
}


def preset(name: str) -> dict[str, Any]:
    """The option values of a tool: hf, vllm, ctranslate2 or llama.cpp. Raises UnknownNameError."""
    if not isinstance(name, str):
        raise UsageError(f"preset is {shown(name)}; it must be the name of a tool: {', '.join(PRESETS)}")
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return dict(PRESETS[name])
