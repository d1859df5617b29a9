"""Stacks of small checkpoints without one of their parts: they load, and refuse only what needs the part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_openai import FakeOpenAI
from PIL import Image
from small_world import config_of, fresh, language_model, small_world
from torch import nn

import dnr_env
from dnr_env import api
from dnr_env.errors import DnRError
from dnr_env.evaluation.judge import judge_images
from dnr_env.stack import Stack

ALL = ("generator", "captioner", "embedder", "writer", "judge")
NEURONS = "layer3:0,layer3:7"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeOpenAI]:
    with language_model() as running:
        monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        yield running


def untouched(stack: Stack) -> bool:
    """Whether no image has been read and no model but the target has been loaded."""
    loaded = {"_loaded", "_pipeline", "clean"}
    parts = (
        stack.probes,
        stack.embedder,
        stack.lab.generator,
        stack.judge_lab.generator,
        stack.proposer.captioner,
    )
    return not any(loaded & vars(part).keys() for part in parts)


def label(stack: Stack, agent: str) -> dnr_env.Labels:
    return api.label(stack=stack, agent=agent, neurons=NEURONS, rules=dnr_env.Rules(budget=15), progress=False)


def judged(stack: Stack) -> dnr_env.Judged:
    return api.judge(stack=stack, labels={"layer3:0": "red star"}, progress=False)


def ranked(stack: Stack) -> dnr_env.Ranking:
    return api.rank(stack=stack, labels={"layer3:0": "red star", "layer3:7": "blue ring"}, progress=False)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ("", set()),
        ("generator=null", {"generator", "judge"}),  # the judge has nothing to draw with
        ("generator=null judge.generator.model=DIFFUSION judge.generator.size=32", {"generator"}),
        ("captioner=null", {"captioner"}),
        ("embedder=null", {"embedder"}),
        ("writer=null", {"writer"}),
        ("judge=null", {"judge"}),
        (" ".join(f"{part}=null" for part in ALL), set(ALL)),
    ],
)
def test_the_parts_that_are_missing_are_known(world: Path, settings: str, missing: set[str]) -> None:
    stack = fresh(f"{world} {settings.replace('DIFFUSION', str(world.parent / 'diffusion'))}")
    assert stack.missing == missing
    assert len(stack.neurons) == 32
    assert untouched(stack)
    assert (judge_images(stack) == 0) == ("judge" in missing)


@pytest.mark.parametrize(
    ("part", "ask", "who"),
    [
        ("generator", lambda stack: label(stack, "dnr"), "agent dnr"),
        ("generator", lambda stack: label(stack, "shortlist:2"), "agent shortlist:2"),
        ("embedder", ranked, "rank"),
        ("captioner", lambda stack: label(stack, "dnr"), "agent dnr"),
        ("captioner", lambda stack: label(stack, "dnd"), "agent dnd"),
        ("embedder", lambda stack: label(stack, "promise"), "agent promise"),
        ("embedder", lambda stack: label(stack, "clip-dissect"), "agent clip-dissect"),
        ("embedder", judged, "judge"),
        ("judge", ranked, "rank"),
    ],
)
def test_what_needs_a_missing_part_is_refused_before_anything_is_loaded(
    world: Path, server: FakeOpenAI, part: str, ask: Callable[[Stack], Any], who: str
) -> None:
    stack = fresh(f"{world} {part}=null")
    with pytest.raises(DnRError, match=f"^{who} needs an? {part}, and this stack has none: ") as caught:
        ask(stack)
    assert "\n" not in str(caught.value)
    assert untouched(stack)
    assert not server.requests


def test_the_mutator_of_a_missing_writer_is_refused_before_anything_is_loaded(world: Path, server: FakeOpenAI) -> None:
    stack = fresh(f"{world} writer=null")
    assert tuple(stack.mutators) == ("informed", "vocabulary")
    with pytest.raises(DnRError, match=r"^the mutator of dnr@writer must be one of .*\(got 'writer'\)$"):
        label(stack, "dnr@writer")
    assert untouched(stack)
    assert not server.requests


@pytest.mark.parametrize(
    ("part", "ask"),
    [
        ("generator", lambda stack: stack.lab.generator.generate(["red star"], [0])),
        ("captioner", lambda stack: stack.proposer.captioner.caption([np.zeros((8, 8, 3), np.uint8)])),
        ("captioner", lambda stack: stack.proposer.propose([0], 3)),
        ("embedder", lambda stack: stack.embedder.embed_texts(["red star"])),
    ],
)
def test_a_placeholder_refuses_to_work(world: Path, part: str, ask: Callable[[Stack], Any]) -> None:
    stack = fresh(f"{world} {part}=null")
    with pytest.raises(
        DnRError, match=rf"^the {part} is needed here, but the stack was configured with `{part}: null`$"
    ):
        ask(stack)


@pytest.mark.parametrize("settings", ["generator=null", "judge=null"])
def test_labels_without_a_judge_have_no_verdict_on_drawings(world: Path, settings: str) -> None:
    stack = fresh(f"{world} {settings}")
    for one in (*label(stack, "promise"), *judged(stack)):
        assert one.text in stack.vocabulary.concepts
        assert (one.value, one.error, one.auc, one.mad) == (None, None, None, None)
        assert np.isfinite(one.simulation)
    assert stack.lab.counters.drawn == stack.judge_lab.counters.drawn == 0


def test_a_judge_with_a_generator_of_its_own_draws_where_the_search_does_not(world: Path) -> None:
    folder = world.parent / "diffusion"
    stack = fresh(f"{world} generator=null judge.generator.model={folder} judge.generator.size=32")
    (verdict,) = judged(stack)
    numbers = [verdict.value, verdict.error, verdict.auc, verdict.mad]
    assert all(number is not None and np.isfinite(number) for number in numbers)
    assert stack.judge_lab.counters.drawn > 0
    assert stack.lab.counters.drawn == 0


def test_without_a_captioner_labels_come_from_the_vocabulary(world: Path, server: FakeOpenAI) -> None:
    stack = fresh(f"{world} captioner=null")
    assert [one.neuron for one in label(stack, "promise")] == ["layer3:0", "layer3:7"]
    assert not server.requests


def test_without_a_writer_captions_are_concepts_and_nobody_is_asked(world: Path, server: FakeOpenAI) -> None:
    stack = fresh(f"{world} writer=null")
    labels = label(stack, "dnr")
    assert all(one.value is not None and np.isfinite(one.value) for one in labels)
    assert stack.lab.counters.drawn > 0
    assert not server.requests
    assert stack.bill.asked() == ""


def test_exemplars_need_a_target_and_images_alone(world: Path, server: FakeOpenAI) -> None:
    spec = f"{world} {' '.join(f'{part}=null' for part in ALL)}"
    stack = fresh(spec)
    table = api.exemplars(stack=stack, neurons=NEURONS, progress=False)
    activations = stack.probes.whole.all_raw(np.array([0, 7])).astype(float)
    for place, neuron in enumerate(("layer3:0", "layer3:7")):
        rows = [row for row in table if row.neuron == neuron]
        ranks = [row.rank for row in rows]
        assert ranks[:10] == list(range(1, 11))
        assert ranks == sorted(set(ranks))
        expected = np.sort(activations[:, place])[::-1][np.array(ranks) - 1]
        np.testing.assert_allclose([row.activation for row in rows], expected, rtol=1e-5)
        assert all(Path(row.image).is_file() for row in rows)
    assert not server.requests
    assert config_of(spec).captioner is None


def test_exemplars_of_a_model_in_memory_load_nothing_else(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a model is looked for")

    for place in ("captioner", "generator", "local_chat", "openclip", "origin"):
        monkeypatch.setattr(f"dnr_env.models.{place}.find", refuse)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU())
    photos = sorted((world.parent / "photos").rglob("*.png"))

    def small(images: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(images.float() / 255, (32, 32))

    table = api.exemplars(net, "0", photos, neurons=[2], preprocess=small, progress=False)
    with torch.no_grad():
        pixels = [torch.tensor(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1)[None] for photo in photos]
        expected = np.array([float(net[0](small(image))[0, 2].mean()) for image in pixels])
    rows = list(table)
    assert {row.neuron for row in rows} == {"0:2"}
    order = np.argsort(-expected)[[row.rank - 1 for row in rows]]
    assert [row.image for row in rows] == [str(photos[i]) for i in order]
    np.testing.assert_allclose([row.activation for row in rows], expected[order], rtol=1e-4)
