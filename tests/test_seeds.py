"""The seeds of images."""

from __future__ import annotations

import numpy as np
import pytest

from dnr_env.seeds import BLOCKS, EVALUATION_BLOCKS, TRAINING_BLOCKS, Purpose, block_of, place_of


def test_blocks_of_one_purpose_never_meet() -> None:
    for purpose in Purpose:
        for block in (0, 1, BLOCKS - 1):
            seeds = purpose.seeds(0, 1 << 20, block)
            assert seeds[0] == purpose + (block << 20)
            assert seeds[-1] < purpose + ((block + 1) << 20)
        assert np.array_equal(purpose.rows(4, np.array([0, 7])), [purpose.seeds(0, 4), purpose.seeds(0, 4, 7)])


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize(("block", "position"), [(0, 0), (1023, 5), (7, (1 << 20) - 1)])
def test_a_seed_tells_its_place(purpose: Purpose, block: int, position: int) -> None:
    assert place_of(int(purpose.seeds(position, 1, block)[0])) == (purpose, block, position)


def test_an_evaluations_blocks_are_none_of_training() -> None:
    assert [block_of(seed) for seed in range(17)] == [*range(8, 24), 8]
    found = {block_of(seed) for seed in [*range(1000), 2**48 - 1]}
    assert found == set(range(TRAINING_BLOCKS, TRAINING_BLOCKS + EVALUATION_BLOCKS))
