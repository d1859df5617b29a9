"""The targets of `scenes`: what they are trained to say, the three networks, and their training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dnr_env.scenes import target_train
from dnr_env.scenes.network import SceneNet
from dnr_env.scenes.outputs import KINDS, OUTPUTS, presence
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.target_train import average_precision, learning_rate, quality, train
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, WORDS
from dnr_env.shapes.network import LAYERS
from dnr_env.types import BoolArray

FRESH = 1 << 50


def test_outputs_are_the_words_and_the_conjunctions_of_one_object() -> None:
    assert OUTPUTS[: len(WORDS)] == WORDS
    assert len(set(OUTPUTS)) == len(OUTPUTS) == 300
    covered = np.concatenate([np.arange(len(OUTPUTS))[part] for part in KINDS.values()])
    np.testing.assert_array_equal(np.sort(covered), np.arange(300))
    families = {family.name: set(family.words) for family in FAMILIES}
    for kind, part in KINDS.items():
        for text in OUTPUTS[part]:
            for name, word in zip(kind.split(" & "), text.split(" & "), strict=True):
                assert word in families[name]


def test_presence_is_what_the_objects_show() -> None:
    scenes = SceneRenderer().resolve([ANYTHING] * 300, range(FRESH, FRESH + 300))
    shown = presence(scenes)
    for row, objects, background in zip(shown, scenes.objects, scenes.backgrounds, strict=True):
        words = [{f.words[c] for f, c in zip(FAMILIES, codes, strict=False)} for codes in objects if codes[0] >= 0]
        for text, is_shown in zip(OUTPUTS, row, strict=True):
            parts = set(text.split(" & "))
            assert is_shown == (any(parts <= own for own in words) or parts == {FAMILIES[-1].words[background]})


def test_average_precision_is_the_area_under_precision_and_recall() -> None:
    scores = np.array([[0.9, 0.1, 5], [0.8, 0.2, 4], [0.7, 0.3, 3], [0.6, 0.4, 2]])
    shown = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_allclose(average_precision(scores, shown), [(1 + 2 / 3) / 2, 1 / 4, np.nan])


@pytest.mark.parametrize("architecture", WIDTHS)
def test_a_network_answers_by_layers_that_are_narrower_than_what_they_carry(architecture: str) -> None:
    torch.manual_seed(0)
    network = SceneNet(architecture).eval()
    x = torch.rand(5, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        logits, pooled = network(x)
        maps = [network.maps(x, layer) for layer in LAYERS]
        alone = network(x[2:3])[0]
        torch.testing.assert_close(network.head(pooled[-1]), logits)
    assert logits.shape == (5, len(OUTPUTS))
    torch.testing.assert_close(alone[0], logits[2])
    for means, channels in zip(pooled, maps, strict=True):
        torch.testing.assert_close(channels.mean(dim=(2, 3)), means)
    widths = WIDTHS[architecture]
    assert tuple(means.shape[1] for means in pooled) == widths
    assert max(widths) < len(OUTPUTS) / 6


def test_the_learning_rate_rises_falls_and_is_never_zero() -> None:
    rates = np.array([learning_rate(step, 100, 0.01) for step in range(100)])
    peak = int(rates.argmax())
    assert peak == 10
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates.min() > 0
    assert rates.max() == pytest.approx(0.01, rel=0.01)


def test_pictures_of_a_training_are_its_own() -> None:
    first, shown = target_train.pictures(FRESH, 16)
    again, same = target_train.pictures(FRESH, 16)
    assert torch.equal(first, again)
    np.testing.assert_array_equal(shown, same)
    assert not torch.equal(first, target_train.pictures(FRESH + 16, 16)[0])


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_train, "_SAVED_EVERY", 4)
    whole = train("depthwise", 3, 6, tmp_path / "a", batch=8).state_dict()
    assert not list(tmp_path.iterdir())
    draw, drawn = target_train.pictures, []

    def stop_after_five(first: int, size: int) -> tuple[torch.Tensor, BoolArray]:
        drawn.append(first)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return draw(first, size)

    monkeypatch.setattr(target_train, "pictures", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        train("depthwise", 3, 6, tmp_path / "b", batch=8)
    parts = train("depthwise", 3, 6, tmp_path / "b", batch=8).state_dict()
    assert len(drawn) == 6 + 2  # the steps after the checkpoint at step 4
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_a_few_steps_of_training_learn_something(tmp_path: Path) -> None:
    network = train("residual", 3, 150, tmp_path / "checkpoint", batch=32)
    torch.manual_seed(3)
    untrained = quality(SceneNet("residual").eval(), 500)
    assert quality(network, 500)["background"] > untrained["background"] + 0.08
