"""Which image seeds serve which purpose. Image i of every concept uses the i-th seed of its block; no blocks meet."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from dnr_env.types import IntArray


class SeedBlock(IntEnum):
    """First seed of each block; a block is 2**30 long."""

    SEARCH = 0
    """What the agent sees."""
    REWARD = 1 << 30
    """What the reward is taken on."""
    JUDGE = 2 << 30
    """What a final label is judged on."""
    PROBE = 3 << 30
    """Pictures that stand for real images."""
    ORACLE = 4 << 30
    """What brute force finds the optimum on."""

    def seeds(self, start: int, count: int) -> IntArray:
        """(count,) seeds, from the block's `start`-th on."""
        return np.arange(self + start, self + start + count)
