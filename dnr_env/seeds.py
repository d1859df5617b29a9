"""The image seeds of each purpose.

Each purpose has its own seeds, divided into blocks. One block is one set of drawings: image i of every concept uses the
i-th seed of the episode's block. Blocks do not overlap.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dnr_env.types import IntArray

BLOCKS = 1 << 10
"""The number of blocks of each purpose."""
TRAINING_BLOCKS = 8
"""An episode that names no block draws from one of the first 8."""
EVALUATION_BLOCKS = 16
"""Evaluations draw from the 16 blocks that follow."""
_LENGTH = 1 << 20


def block_of(seed: int) -> int:
    """The block of drawings that belongs to an evaluation's seed. No training has seen it."""
    return TRAINING_BLOCKS + seed % EVALUATION_BLOCKS


class Purpose(IntEnum):
    """What an image is drawn for. Each purpose has 2**30 seeds from its value on: 1,024 blocks of 2**20."""

    SEARCH = 0
    """Images that the agent sees."""
    REWARD = 1 << 30
    """Images that the reward is measured on."""
    JUDGE = 2 << 30
    """Images that a final label is judged on."""
    PROBE = 3 << 30
    """Pictures that take the place of real images."""
    ORACLE = 4 << 30
    """Images that brute force finds the optimum on."""
    CALIBRATION = 5 << 30
    """Images that promises are calibrated on."""

    def seeds(self, start: int, count: int, block: int = 0) -> IntArray:
        """(count,) seeds of one block, beginning with its `start`-th."""
        first = self + block * _LENGTH + start
        return np.arange(first, first + count)

    def rows(self, count: int, blocks: IntArray) -> IntArray:
        """(b, count) the first `count` seeds of each of b blocks."""
        return self + np.asarray(blocks)[:, None] * _LENGTH + np.arange(count)


class Place(NamedTuple):
    """What a seed stands for."""

    purpose: Purpose
    block: int
    position: int
    """The seed's place in its block: it is for image `position` of every concept."""


def place_of(seed: int) -> Place:
    """The purpose, block and position of a seed: the inverse of `Purpose.seeds`."""
    block, position = divmod(seed % Purpose.REWARD, _LENGTH)
    return Place(Purpose(seed - seed % Purpose.REWARD), block, position)
