"""The arrays of the episodes: the ranking, and what drawings do to it on average."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dnr_env import Rules
from dnr_env.env.observe import worth_of_drawing
from dnr_env.env.state import State, occurrence
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

DIM, CONTROLS = 3, 20


def undrawn(
    stack: Stack, rules: Rules, excited: FloatArray, real: FloatArray, length: float = 0.0
) -> tuple[State, FloatArray, FloatArray]:
    """The state of b episodes with one concept each, and (b,) prior means and deviations of what drawings decide.

    Real images promise the excitements and simulations given. The concepts have a length in words.
    """
    n = len(excited)
    state = State.empty(n, rules, stack.calibration, DIM, CONTROLS)
    state.join(np.arange(n), np.zeros((n, DIM), np.float32), real, excited, np.full(n, length), np.zeros((n, 4)))
    prior, _ = stack.calibration.prior(rules.score, excited, real)
    return state, prior.mean, prior.deviation


@pytest.mark.parametrize(("score", "m"), [("mean", 5), ("log_k", 1), ("grounded_k", 1)])
def test_drawing_moves_an_estimate_by_nothing_on_average(stack: Stack, score: str, m: int) -> None:
    """If truth follows the prior, every KEEP is expected to leave the estimate where it is, and lowers the doubt.

    Means of normal drawings are exact for this; of m = 1 images, the top half is the mean.
    """
    n, rng = 4000, np.random.default_rng(0)
    rules = Rules(score=score, images_per_measure=m, budget=60, reward_images=20)
    state, means, deviations = undrawn(stack, rules, rng.uniform(0.9, 1.1, n), rng.uniform(0.2, 0.9, n))
    rows, places = np.arange(n), np.zeros(n, np.intp)
    before = state.deviations[:, 0].copy()
    truth = means + deviations * rng.standard_normal(n)
    for _ in range(4):
        mean, deviation = state.means[:, 0].copy(), state.deviations[:, 0].copy()
        excited = truth[:, None] + 0.1 * rng.standard_normal((n, m))
        activations = (excited if score == "mean" else np.expm1(excited)).astype(np.float32)
        state.record(rows, places, activations, np.zeros((n, m, DIM), np.float32), np.zeros((n, m), np.float32))
        gains = state.means[:, 0] - mean
        assert gains.std() > 0
        assert abs(gains.mean()) < 4 * gains.std() / np.sqrt(n)
        assert (state.deviations[:, 0] < before).all()
        assert state.deviations[:, 0].mean() < deviation.mean()


def test_the_first_drawings_are_read_with_their_prior(stack: Stack) -> None:
    """An estimate lies between what real images and drawings say, nearer to the drawings the more there are."""
    state, means, _ = undrawn(stack, Rules(score="mean"), np.array([0.5, 0.5]), np.array([0.2, 0.2]))
    assert state.promises[:, 0] == pytest.approx(state.means[:, 0])
    fractions = []
    for _ in range(3):
        drawn = np.array([[0.8, 0.9, 1.0, 1.1, 1.2]], np.float32)
        nothing = np.zeros((1, 5), np.float32)
        state.record(np.array([0]), np.array([0]), drawn, np.zeros((1, 5, DIM), np.float32), nothing)
        fractions.append((state.means[0, 0] - state.promises[0, 0]) / (1.0 - means[0]))
    assert 0 < fractions[0] < fractions[1] < fractions[2] < 1
    assert state.means[1, 0] == state.promises[1, 0]  # the other episode has seen nothing


@pytest.mark.parametrize(("score", "price"), [("grounded_k", 0.04), ("log_k", 0.0), ("mean", 0.0)])
@pytest.mark.parametrize("length", [1.0, 2.5])
def test_words_lower_means_and_promises_by_their_price(stack: Stack, score: str, price: float, length: float) -> None:
    """Before drawings and after them, and they change nothing else."""
    rng, rules = np.random.default_rng(1), Rules(score=score)
    excited, real = rng.uniform(0, 1.1, 8), rng.uniform(-0.2, 0.9, 8)
    short, long = (undrawn(stack, rules, excited, real, words)[0] for words in (0.0, length))
    rows, places = np.arange(8), np.zeros(8, np.intp)
    drawn = rng.gamma(2, 0.4, (8, 5)).astype(np.float32)
    for _ in range(2):
        for name in ("means", "promises"):
            lower = getattr(short, name)[:, 0] - getattr(long, name)[:, 0]
            np.testing.assert_allclose(lower, price * length, atol=1e-12)
        for name in ("deviations", "unsettled", "reaches", "scores", "errors", "simulations"):
            np.testing.assert_array_equal(getattr(short, name)[:, 0], getattr(long, name)[:, 0])
        for state in (short, long):
            state.record(rows, places, drawn, np.zeros((8, 5, DIM), np.float32), np.zeros((8, 5), np.float32))


@given(hnp.arrays(np.float64, (2, 6), elements=st.integers(0, 3)), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_the_ranking_is_by_estimate_then_by_real_images_then_by_age(stack: Stack, real: FloatArray, held: int) -> None:
    rules = Rules(n_slots=4, max_steps=4, score="log_k")
    state = State.empty(1, rules, stack.calibration, DIM, CONTROLS)
    for excited, simulation in real[:, :held].T:
        row, told = np.zeros(1, np.intp), np.array([simulation])
        state.join(row, np.zeros((1, DIM), np.float32), told, np.array([excited]), np.zeros(1), np.zeros((1, 4)))
    means = state.means[0]
    wanted = sorted(range(held), key=lambda place: (-means[place], -real[1, place], place))
    assert state.order[0].tolist() == [*wanted, *range(held, rules.capacity(structured=False))]
    assert state.incumbent[0] == wanted[0]


def test_real_images_break_ties() -> None:
    """Where a neuron saturates, equal estimates of the world's own concepts are ordered by simulation."""
    envs = gym.make_vec("dnr_env:DnR/Refine-v0", num_envs=40, score="auc", reward="none", budget=200)
    envs.reset(seed=0, options={"each": [{"neuron": f"planted:{i}"} for i in range(40)]})
    for _ in range(6):
        envs.step(np.zeros(40, int))
    state = envs.unwrapped.episodes.state  # type: ignore[attr-defined]
    for row in range(40):
        order = state.order[row, : state.size[row]]
        pairs = list(zip(state.means[row, order], state.simulations[row, order], strict=True))
        assert pairs == sorted(pairs, key=lambda pair: (-pair[0], -pair[1]))


def test_occurrence() -> None:
    assert occurrence(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_the_worth_of_a_drawing_is_the_expected_rise_of_the_best(data: st.DataObject) -> None:
    """Against simulation: the mean moves by its reach, and the best of all is taken afterwards."""
    k = data.draw(st.integers(2, 5))
    means = -np.sort(-data.draw(hnp.arrays(float, (1, k), elements=st.floats(-1, 1, width=16))), axis=1)
    reaches = data.draw(hnp.arrays(float, (1, k), elements=st.floats(0, 1, width=16)))
    moved = np.random.default_rng(0).standard_normal(40_000)
    found = worth_of_drawing(means, reaches)[0]
    for slot in range(k):
        others = np.delete(means[0], slot).max()
        rises = np.maximum(means[0, slot] + reaches[0, slot] * moved, others) - means[0, 0]
        assert found[slot] == pytest.approx(rises.mean(), abs=4 * rises.std() / 200 + 1e-4)


def test_the_worth_of_a_drawing_where_there_is_no_other() -> None:
    alone = np.array([[0.5, -np.inf, -np.inf]])
    assert worth_of_drawing(alone, np.ones((1, 3))).tolist() == [[0, 0, 0]]
    assert worth_of_drawing(alone[:, :1], np.ones((1, 1))).tolist() == [[0]]
