"""The options of a training: their checks and their groups of environments."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import options

from dnr_env import DnRError
from dnr_env.agents.training import options as options_module
from dnr_env.agents.training import train
from dnr_env.neurons import split_of


def test_all_values_are_played_alike() -> None:
    chosen = options(
        stack=("shapes", "shapes-transfer"),
        score=("log_k", "grounded_k"),
        user_concepts=("none", "simulated:0.5"),
        image_cost=(0.0, 0.001, 0.002, 0.003),
        budget=(100, 50),
        envs=19,
    )
    envs = train.make_model(chosen, seed=0).env
    played = [group.episodes for group in envs.groups]
    assert [group.num_envs for group in envs.groups] == [3, 3, 3, 2, 2, 2, 2, 2]
    assert sorted(one.rules.image_cost for one in played) == sorted((0.0, 0.001, 0.002, 0.003) * 2)
    assert sorted(one.rules.budget for one in played) == [50] * 4 + [100] * 4
    assert sorted(one.rules.score for one in played) == ["grounded_k"] * 4 + ["log_k"] * 4
    assert sorted(one.stack.name for one in played) == ["shapes"] * 4 + ["shapes-transfer"] * 4
    envs.reset()
    assert sum(bool((one.state.user_left > 0).all()) for one in played) == 4


@settings(max_examples=100, deadline=None)
@given(st.permutations(["stack", "score", "user_concepts", "image_cost", "budget"]), st.integers(1, 4), st.data())
def test_every_value_meets_every_other(names: list[str], most: int, data: st.DataObject) -> None:
    counts = (most, *data.draw(st.tuples(*[st.integers(1, min(most, 2))] * 4)))
    stacks = ("shapes", "shapes-directions", "shapes-withheld", "shapes-unpaired")
    several: dict[str, Any] = {
        name: stacks[:n] if name == "stack" else tuple(range(1, n + 1)) for name, n in zip(names, counts, strict=True)
    }
    played = options_module.groups(options(envs=64, **several))
    assert len(played) == (8 if most > 1 else 1)
    for one, other in combinations(names, 2):
        assert {(group[one], group[other]) for group in played} == set(product(several[one], several[other]))
    for name, values in several.items():
        dealt = [group[name] for group in played]
        assert {dealt.count(value) for value in values} <= {len(played) // len(values), -(-len(played) // len(values))}


def test_what_is_kept_for_a_test_is_not_trained_on_by_way_of_another_stack() -> None:
    stacks = ("shapes", "shapes-directions", "shapes-unfaithful", "shapes-transfer")
    envs = train.make_model(options(stack=stacks, neurons="layer4:train"), seed=0).env
    seen = set()
    for group in envs.groups:
        trained, names = group.episodes, group.episodes.stack.neurons
        seen.add((trained.stack.name, len(trained.neurons) == len(names)))
        if trained.stack.name != "shapes-directions":
            assert {split_of(names[i]) for i in trained.neurons} == {"train"}
    assert seen == {(name, name == "shapes-directions") for name in stacks}


def test_one_of_each_is_one_group() -> None:
    assert len(train.make_model(options(envs=5, image_cost=(0.001,)), seed=0).env.groups) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"envs": 7, "image_cost": (0.1, 0.2)}, r"`envs` must be at least 8 with several values of image_cost \(got 7"),
        ({"envs": 0}, r"`envs` must be at least 1 \(got 0\)"),
        ({"image_cost": tuple(n / 1000 for n in range(9))}, r"`image_cost` must have at most 8 values \(got 9\)"),
        ({"stack": ()}, r"`stack` must have at least one value, such as shapes \(got none\)"),
        ({"score": ()}, "`score` must have at least one value, such as grounded_k"),
        ({"image_cost": ()}, "`image_cost` must have at least one value, such as 2e-05"),
        ({"budget": ()}, "`budget` must have at least one value, such as 100"),
        ({"user_concepts": ()}, "`user_concepts` must have at least one value, such as none"),
        ({"seeds": ()}, "`seeds` must have at least one value, such as 0"),
        ({"seeds": (0, -1)}, r"`seeds` must be whole numbers from 0 to 4294967295 \(got -1\)"),
        ({"steps": 0}, r"`steps` must be at least 1 \(got 0\)"),
        ({"steps": -1, "clone": "python:mine.py:Mine"}, r"`steps` must be at least 0 \(got -1\)"),
        ({"moves": "incumbent"}, r"`network` must be flat unless .* \(got 'set' with maskable-ppo and incumbent\)"),
        ({"gamma": 1.5}, r"`gamma` must be from 0 to 1 \(got 1.5\)"),
        ({"learning_rate": 0.0}, r"`learning_rate` must be from 1e-12 to 1 \(got 0.0\)"),
        (
            {"clone": "oracle"},
            r"`clone` must be an agent that plays DnR/RefineEdits-v0 \(.*, which plays no episodes\)",
        ),
        ({"clone": "dmr"}, "`agent` must be one of dnr"),
        (
            {"clone": "random@informed", "moves": "incumbent", "network": "flat"},
            r"`mutator` must be informed to clone 'random@informed' \(got None\)",
        ),
        (
            {"clone": "random", "algorithm": "a2c", "network": "flat", "moves": "incumbent"},
            r"`algorithm` must be maskable-ppo with the option clone \(got 'a2c'\)",
        ),
        ({"network": "set", "algorithm": "ppo"}, r"`network` must be flat unless .* \(got 'set' with ppo and edits\)"),
        ({"validation": "layer9"}, "`validation` must be one of"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DnRError, match=message):
        options_module.check(options(**changes))
