"""The first of many values, without sorting them all."""

from __future__ import annotations

import numpy as np

from dnr_env.types import FloatArray, IntArray


def highest(values: FloatArray, count: int) -> IntArray:
    """Places of the `count` highest values, highest first; of equal ones, the first comes first.

    Args:
        values: (n,) numbers, none of them NaN.
        count: 1 or more; all places are returned if there are fewer.
    """
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - count)[len(values) - count]
    among = np.flatnonzero(values >= least)
    return among[np.argsort(-values[among], kind="stable")[:count]]
