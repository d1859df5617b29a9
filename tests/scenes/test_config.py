"""The settings of `scenes`: names, settings and errors."""

from __future__ import annotations

from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env import DnRError
from dnr_env.scenes.config import INFIDELITY, PRESETS, ScenesConfig, name_of, read_settings
from dnr_env.shapes.lexicon import FAMILIES

TARGETS, MULTIPLES, PROBES = ("plain", "residual", "depthwise"), (0, 1, 2), (600, 200)
EVERY = [ScenesConfig(target, multiple, probe) for target in TARGETS for multiple in MULTIPLES for probe in PROBES]
EVERY += [ScenesConfig(infidelity=multiple, neurons="sae") for multiple in MULTIPLES]
configs = st.sampled_from(EVERY)


@given(configs)
def test_a_variant_is_read_from_its_name(config: ScenesConfig) -> None:
    name, *settings = name_of(config).split()
    assert read_settings(name, settings) == config


def test_every_variant_has_a_name_of_its_own_and_presets_have_theirs() -> None:
    assert len({name_of(config) for config in EVERY}) == len(EVERY) == 21
    assert {name: name_of(preset) for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert name_of(ScenesConfig("residual", 2, 200)) == "scenes target=residual infidelity=2 probe=200"


@given(st.sampled_from(sorted(PRESETS)), configs)
def test_settings_replace_those_of_any_preset_in_any_order(name: str, config: ScenesConfig) -> None:
    settings = [f"{key}={value}" for key, value in asdict(config).items()]
    assert {read_settings(name, order) for order in permutations(settings)} == {config}
    assert read_settings(name, []) == PRESETS[name]


def test_probabilities_stay_below_one_when_doubled() -> None:
    assert len(INFIDELITY) == len(FAMILIES)
    assert all(0 < 2 * probability < 1 for probability in INFIDELITY)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("target", r"^`stack` settings must have the form target=residual \(got 'target'\)$"),
        ("target=resnet", r"^`target` must be one of depthwise, plain, residual or a file .* \(got 'resnet'\)$"),
        ("infidelity=0.5", r"^`infidelity` must be one of 1, 0, 2 \(got '0.5'\)$"),
        ("probe=", r"^`probe` must be one of 600, 200 \(got ''\)$"),
        ("neurons=", r"^`neurons` must be one of channels, sae \(got ''\)$"),
        ("neurons=sae", r"^`target` must be depthwise where `neurons` is sae \(got 'plain'\)$"),
        ("probes=200", r"^a setting of scenes-few must be one of probe, … \(got 'probes'\)$"),
    ],
)
def test_errors_say_what_is_accepted(setting: str, words: str) -> None:
    with pytest.raises(DnRError, match=words):
        read_settings("scenes-few", ["target=plain", setting])
