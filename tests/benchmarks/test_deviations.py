"""Deviations from a rule: what they share with its episodes, and whether gains that can be foretold are."""

from __future__ import annotations

import numpy as np
from deviations import MOVES, REPEATS, Deviating, Deviation, deviations, foretold, table

from dnr_env import Rules
from dnr_env.agents.learned.features import COUNT
from dnr_env.agents.registry import make_agent
from dnr_env.env.rules import Action
from dnr_env.evaluation.rollout import rollout

JOBS = [("layer4:5", 1), ("layer2:3", 2)]


def test_repetitions_differ_from_the_episode_of_the_rule_by_one_move() -> None:
    rules, steps = Rules(budget=15), np.array([3, 0])
    agent = Deviating(make_agent("improve:2"), steps, np.random.default_rng(0))
    repeated = [job for job in JOBS for _ in range(REPEATS)]
    played = list(rollout(agent, repeated, rules=rules, mutator="informed", batch=len(repeated)))
    alone = list(rollout(make_agent("improve:2"), JOBS, rules=rules, mutator="informed"))
    for episode, step in enumerate(steps.tolist()):
        rows = played[episode * REPEATS :][:REPEATS]
        assert rows[0] == alone[episode]
        _, moves = agent.taken[episode]
        assert len(set(moves)) == len(moves) == REPEATS
        for row, move in zip(rows[1:], moves[1:], strict=True):
            assert row.curve[: step + 1] == rows[0].curve[: step + 1]
            if MOVES[move, 0] == Action.STOP:
                assert row.steps == step + 1
            if MOVES[move, 0] == Action.KEEP:
                assert row.curve[step + 1][0] == row.curve[step][0] + 5


def test_a_deviation_is_what_its_repetition_earns_more() -> None:
    rules, rng = Rules(budget=15), np.random.default_rng(11)
    agent = Deviating(make_agent("improve:2"), rng.integers(0, 22, len(JOBS)), rng)
    repeated = [job for job in JOBS for _ in range(REPEATS)]
    played = list(rollout(agent, repeated, rules=rules, mutator="informed", batch=len(repeated)))
    wanted = {
        (JOBS[episode][0], move): played[episode * REPEATS + row].total_reward - played[episode * REPEATS].total_reward
        for episode, (_, moves) in agent.taken.items()
        for row, move in enumerate(moves)
        if row and played[episode * REPEATS].steps > agent.steps[episode]
    }
    found = deviations("improve:2", JOBS, "shapes", rules, np.random.default_rng(11))
    assert {(one.neuron, one.move): one.advantage for one in found} == wanted
    assert len(wanted) > 1
    assert "all but STOP" in table({"shapes": found})


def test_a_gain_that_can_be_foretold_is_foretold_for_other_neurons() -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((600, COUNT)).astype(np.float32)
    found = [
        Deviation(f"layer1:{row % 60}", one, 0, int(rng.integers(1, 12)), 0.02 * float(np.tanh(one[-1])))
        for row, one in enumerate(seen)
    ]
    advantages = np.array([one.advantage for one in found])
    assert np.corrcoef(foretold(found), advantages)[0, 1] > 0.8
    lucky = [one._replace(advantage=0.02 * float(rng.standard_normal())) for one in found]
    assert abs(np.corrcoef(foretold(lucky), [one.advantage for one in lucky])[0, 1]) < 0.2
