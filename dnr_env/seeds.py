"""Which image seeds serve which purpose.

Each purpose has its own seeds, and these come in blocks: one block is one set of drawings. Image i of every concept
uses the i-th seed of the episode's block, and no two blocks meet.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from dnr_env.types import IntArray

BLOCKS = 1 << 10
"""Blocks of each purpose."""
_LENGTH = 1 << 20


def block_of(seed: int) -> int:
    """The block that an evaluation's seed draws with."""
    return seed % BLOCKS


class SeedBlock(IntEnum):
    """First seed of each purpose, which has 2**30 seeds: 1,024 blocks of 2**20."""

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

    def seeds(self, start: int, count: int, block: int = 0) -> IntArray:
        """(count,) seeds of one block, from its `start`-th on."""
        first = self + block * _LENGTH + start
        return np.arange(first, first + count)

    def rows(self, count: int, blocks: IntArray) -> IntArray:
        """(b, count) the first seeds of each of b blocks."""
        return self + np.asarray(blocks)[:, None] * _LENGTH + np.arange(count)
