"""What a number may be: the error gives the interval and the nearest value that can be used, for every option alike."""

from __future__ import annotations

import math
from dataclasses import Field, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.ranges import Range, check_choice, check_number, shown

NUMBERS = [option for option in fields(GenerationOptions) if option.metadata.get("within")]
CHOICES = [option for option in fields(GenerationOptions) if option.metadata.get("choices")]


@given(st.floats(-5, 5), st.floats(0.1, 9) | st.just(math.inf), st.booleans(), st.booleans(), st.floats(-20, 20))
def test_the_nearest_is_inside_and_none_is_nearer(low: float, size: float, above: bool, below: bool, value: float) -> None:
    within = Range(low, low + size, above, below)
    near = within.nearest(value)
    assert near in within
    if value not in within and not above and not below:
        assert abs(near - value) == min(abs(end - value) for end in (low, low + size))


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_every_option_beyond_its_interval_says_it_and_the_nearest_value_which_works(option: Field) -> None:
    within, kind = option.metadata["within"], int if option.default is None else type(option.default)
    beyond = [within.low - 1, -1e30, *([] if within.high == math.inf else [within.high + 1, 1e30]),
              *([within.low] if within.above else []), *([within.high] if within.below else [])]
    for value in beyond:
        message = _refused(option, kind(value))
        assert f"; it must be {within}; the nearest is " in message
        near = message.split("such as " if "such as" in message else "the nearest is ")[1].split(",")[0]
        check_number(option.name, kind(float(near)), kind, within)
    for value in (math.nan, "abc", "", None if option.default is not None else "none", [1], {}, True, object(), 1j):
        message = _refused(option, value)
        assert str(within) in message and "; it must be " in message
        if option.default is not None:
            assert f"; leave it out for {option.default:g}" in message
    if kind is float:
        for value in (math.inf, -math.inf):
            assert "; the nearest is " in _refused(option, value)


def _refused(option: Field, value: Any) -> str:
    with pytest.raises(UsageError, match=f"^{option.name} is ") as error:
        GenerationOptions(**{option.name: value})
    return str(error.value)


@pytest.mark.parametrize("options,message", [
    ({"temperature": -1}, "temperature is -1; it must be 0 to 100; the nearest is 0, which is greedy"),
    ({"beams": 0}, "beams is 0; it must be 1 to 64; the nearest is 1, which is greedy"),
    ({"beams": 65}, "beams is 65; it must be 1 to 64; the nearest is 64"),
    ({"top_k": -1}, "top_k is -1; it must be 0 or more; the nearest is 0, which is off"),
    ({"top_k": 1.5}, "top_k is 1.5; it must be a whole number, 0 or more; the nearest is 2"),
    ({"top_k": "40"}, "top_k is '40'; it must be a whole number, 0 or more; the nearest is 40"),
    ({"top_p": 0}, "top_p is 0; it must be above 0 to 1; the nearest is just above 0, such as 0.01"),
    ({"top_p": 2}, "top_p is 2; it must be above 0 to 1; the nearest is 1, which is off"),
    ({"top_p": math.nan}, "top_p is nan; it must be above 0 to 1; leave it out for 1, which is off"),
    ({"epsilon_cutoff": 1}, "epsilon_cutoff is 1; it must be 0 to below 1; the nearest is just below 1, such as 0.99"),
    ({"temperature": math.inf}, "temperature is inf; it must be 0 to 100; the nearest is 100"),
    ({"repetition_penalty": 0}, "repetition_penalty is 0; it must be 0.01 to 100; the nearest is 0.01"),
    ({"sample": 1}, "sample is 1; it must be true or false; leave it out for False"),
    ({"seed": 10**5000}, "seed is a value of type int too long to write; it must be 0 or more, and not beyond 1e100; leave "
                       "it out for 0"),
    ({"forced_first": "x"}, "forced_first is 'x'; it must be a whole number"),
    ({"early_stopping": "firs"}, "early_stopping is 'firs'; it must be 'exact', 'heuristic' or 'first'; the nearest is "
                                 "'first'"),
    ({"early_stopping": None}, "early_stopping is None; it must be 'exact', 'heuristic' or 'first'"),
    ({"logit_bias": ((3, math.inf),)}, "logit_bias holds (3, inf); it takes pairs of a token id and a number of at most 1e30 "
                                       "(-inf forbids the token)"),
    ({"regex": 3}, "regex is 3; it must be a text"),
])
def test_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions(**options)
    assert str(error.value) == message


def test_values_are_shown_in_short() -> None:
    assert shown("a" * 99) == "'" + "a" * 58 + "…" and shown([10**5000]) == "a value of type list too long to write"
    check_choice("mode", "a", ("a", "b"))
    assert CHOICES and all(_refused(option, 3).endswith(f"or {option.metadata['choices'][-1]!r}") for option in CHOICES)
