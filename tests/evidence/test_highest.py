"""The first of many values."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.evidence.highest import highest


@given(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])), st.integers(1, 30))
def test_it_is_the_beginning_of_a_stable_sort(values: list[float], count: int) -> None:
    numbers = np.array(values)
    assert highest(numbers, count).tolist() == np.argsort(-numbers, kind="stable")[:count].tolist()
