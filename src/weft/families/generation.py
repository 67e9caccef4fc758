"""generation_config.json of Hugging Face transformers to Weft's options of decoding, and back.

Keys mean what transformers 5 does with them (generation/configuration_utils.py). A key whose value changes nothing is
passed over in silence; one that Weft does not do is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.spec import config as c
from weft.spec.decoding import GenerationOptions

SAME = {"num_beams": "beams", "num_beam_groups": "beam_groups", "diversity_penalty": "diversity",
        "length_penalty": "length_penalty", "repetition_penalty": "repetition_penalty",
        "encoder_repetition_penalty": "encoder_repetition_penalty", "no_repeat_ngram_size": "no_repeat_ngram",
        "encoder_no_repeat_ngram_size": "encoder_no_repeat_ngram", "min_new_tokens": "min_new_tokens",
        "forced_bos_token_id": "forced_first", "forced_eos_token_id": "forced_last"}
"""Their key -> our option, where the values are the same."""
EARLY = {True: "first", False: "heuristic", "never": "exact"}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
RERANKING = ("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram", "encoder_no_repeat_ngram", "banned_words")
"""Rules after which a beam's log-probabilities may be taken in two ways (GenerationOptions.beam_scores)."""
UNKNOWN = ("begin_suppress_tokens", "sequence_bias", "exponential_decay_length_penalty", "penalty_alpha", "guidance_scale",
           "force_words_ids", "constraints", "dola_layers", "watermarking_config", "low_memory")
"""Keys that change what transformers generates and that are not taken over."""
KEYS = (*SAME, "early_stopping", "renormalize_logits", "bad_words_ids", "suppress_tokens", "eos_token_id", "min_length",
        "stop_strings", "do_sample", *SAMPLING, *UNKNOWN)
Dropped = list[tuple[str, str]]


def read_generation(values: Mapping[str, Any], config: c.ModelConfig) -> tuple[dict[str, Any], Dropped]:
    """Options that are not neutral, as they stand in a file; and (key, reason) of what is not taken over.

    Values are not checked beyond what is needed to read them: GenerationOptions does that.
    """
    neutral = GenerationOptions()
    found = {ours: values[theirs] for theirs, ours in SAME.items()
             if values.get(theirs) not in (None, getattr(neutral, ours)) and not isinstance(values[theirs], list)}
    dropped = [(key, f"{values[key]!r:.60}, which Weft's decoding does not do: it may generate other text")
               for key in UNKNOWN if values.get(key) not in (None, [], {}, False, 0, 1)]
    dropped += [(key, f"{values[key]!r:.60}; Weft forces one token alone") for key in SAME
                if isinstance(values.get(key), list) and values[key]]
    if config.encoder is None:  # there it is forced after a prompt of one token only
        found.pop("forced_first", None)
    _read_beams(values, found)
    _read_bans(values, config, found)
    _read_ends(values, config, found, dropped)
    if values.get("do_sample"):
        flags = [f"--{key.replace('_', '-')} {values[key]}" for key in SAMPLING
                 if values.get(key) not in (None, getattr(neutral, key))]
        dropped.append(("do_sample", f"true: the checkpoint samples unless told otherwise; Weft is greedy unless asked: "
                                     f"{' '.join(['--sample', *flags])}"))
    for option in ("forced_first", "forced_last"):
        if option in found and not _is_id(found[option], config):
            dropped.append((option, f"{found.pop(option)!r:.60}, which is no token of this model"))
    return found, dropped


def _read_beams(values: Mapping[str, Any], found: dict[str, Any]) -> None:
    """What belongs to beams does nothing without them, there as here."""
    if found.get("beams", 1) == 1:
        for name in ("beam_groups", "diversity", "length_penalty"):
            found.pop(name, None)
        return
    found |= {"length_penalty": found.get("length_penalty", 1.0), "length_formula": "average"}
    early = values.get("early_stopping")
    if isinstance(early, (bool, str)) and early in EARLY:
        found["early_stopping"] = EARLY[early]
    if not values.get("renormalize_logits") and any(name in found for name in RERANKING):
        found["beam_scores"] = "raw"


def _read_bans(values: Mapping[str, Any], config: c.ModelConfig, found: dict[str, Any]) -> None:
    """A bad word of one token is a ban, which is cheaper; the end of a text cannot be one (NoBadWordsLogitsProcessor)."""
    words = [word for word in values.get("bad_words_ids") or () if isinstance(word, list) and word != [config.special.eos]]
    banned = {token for token in (*(values.get("suppress_tokens") or ()), *(word[0] for word in words if len(word) == 1))
              if _is_id(token, config)}
    if banned:
        found["banned"] = sorted(banned)
    longer = [word for word in words if len(word) > 1 and all(_is_id(token, config) for token in word)]
    if longer:
        found["banned_words"] = longer


def _read_ends(values: Mapping[str, Any], config: c.ModelConfig, found: dict[str, Any], dropped: Dropped) -> None:
    named = values.get("eos_token_id")
    ends = [token for token in (named if isinstance(named, list) else [named])
            if _is_id(token, config) and token != config.special.eos]
    if ends:
        found["eos"] = list(dict.fromkeys(ends))
    if values.get("stop_strings"):
        found["stop"] = [values["stop_strings"]] if isinstance(values["stop_strings"], str) else list(values["stop_strings"])
    least = values.get("min_length")
    if not least or "min_new_tokens" in found or not isinstance(least, int):
        return
    if config.encoder is None:
        dropped.append(("min_length", f"{least}, which counts the prompt's tokens too; ask for min_new_tokens"))
    elif least > 1:  # it counts the start token
        found["min_new_tokens"] = least - 1


def _is_id(token: Any, config: c.ModelConfig) -> bool:
    return type(token) is int and 0 <= token < config.vocabulary


def write_generation(options: Mapping[str, Any], config: c.ModelConfig) -> dict[str, Any]:
    """generation_config.json of a bundle's defaults, special tokens included. See also `unsaid`."""
    special = config.special
    ends = [token for token in (special.eos, *options.get("eos", ())) if token is not None]
    values: dict[str, Any] = {"bos_token_id": special.bos, "pad_token_id": special.pad,
                              "eos_token_id": ends if len(ends) > 1 else next(iter(ends), None)}
    if config.encoder is not None:
        values["decoder_start_token_id"] = special.start
    said = {name: value for name, value in options.items() if name not in unsaid(options)}
    values |= {theirs: said[ours] for theirs, ours in SAME.items() if ours in said}
    if "early_stopping" in said:
        values["early_stopping"] = next(theirs for theirs, ours in EARLY.items() if ours == said["early_stopping"])
    names = {"banned": "suppress_tokens", "banned_words": "bad_words_ids", "stop": "stop_strings"}
    values |= {theirs: said[ours] for ours, theirs in names.items() if said.get(ours)}
    return {key: value for key, value in values.items() if value is not None}


def unsaid(options: Mapping[str, Any]) -> Sequence[str]:
    """Options of a bundle that the format has no word for."""
    can = {*SAME.values(), "early_stopping", "banned", "banned_words", "eos", "stop", "length_formula", "beam_scores"}
    beams = options.get("beams", 1) > 1
    wu = ["length_penalty", "length_formula"] if beams and options.get("length_formula", "wu") == "wu" else []
    return [name for name in options if name not in can or name in wu]
