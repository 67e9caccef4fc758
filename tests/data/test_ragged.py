"""Ragged against a list of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data import Ragged

rows = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=6)


@given(rows)
def test_is_a_list_of_rows(expected: list[list[int]]) -> None:
    ragged = Ragged(expected)
    assert [row.tolist() for row in ragged] == expected and len(ragged) == len(expected)
    assert ragged.lengths.tolist() == [len(row) for row in expected] and ragged.lengths.dtype == np.int64
    backwards = range(len(expected) - 1, -1, -1)
    assert [row.tolist() for row in ragged.take(backwards)] == expected[::-1]
    with pytest.raises(IndexError):
        ragged[len(expected)]
