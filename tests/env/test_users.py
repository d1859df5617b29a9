"""Where a user's concepts come from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.env.refine_env import RefineEnv
from dnr_env.env.users import SimulatedUser, user_source
from dnr_env.env.value import held_out_value
from dnr_env.errors import DnRError
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.scores import correlation
from dnr_env.stack import Stack


def test_a_list_of_concepts_is_normalised(stack: Stack) -> None:
    source = user_source(["a RED disc", "stripes"], stack)
    assert source
    assert [stack.language.normalise(text) for text in source(0, np.random.default_rng())] == [
        "red circle",
        "striped thing",
    ]
    assert user_source(None, stack) is None
    assert user_source(source, stack) is source


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_has_one_concept_a_line(tmp_path: Path, stack: Stack, as_text: bool, encoding: str) -> None:
    path = tmp_path / "my concepts.txt"
    path.write_text("# warm ones\n\n  a red disc \r\nstripes\n# star\non  black", encoding=encoding)
    source = user_source(str(path) if as_text else path, stack)
    assert source
    texts = [stack.language.normalise(text) for text in source(3, np.random.default_rng())]
    assert texts == ["red circle", "striped thing", "thing on black"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can be read"),
        (b"", "holds none"),
        (b"\n # red\n\n", "holds none"),
        (b"\xff\xfe\x00red", "in UTF-8"),
        (b"red\n" * 2_500_000, "at most 1,048,576 bytes"),
        (b"red thing\nfluffy dog\n", r"`concept` must contain at least one word .* \(got 'fluffy dog'\)"),
        (b"red " * 200, "at most 500 characters"),
        (b"\0\0\0\n", "at least one word that can be drawn"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, stack: Stack, content: bytes | None, says: str) -> None:
    path = tmp_path / "concepts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DnRError, match=f"^`user_concepts`.*{says}") as error:
        user_source(path, stack)
    assert len(str(error.value)) < 400 + len(str(path))


def test_a_folder_and_a_concept_are_no_files(tmp_path: Path, stack: Stack) -> None:
    for wanted in (str(tmp_path), "a red star", "x" * 5000):
        with pytest.raises(DnRError, match="`user_concepts` must be a text file"):
            user_source(wanted, stack)


def test_a_list_with_a_concept_that_cannot_be_drawn(stack: Stack) -> None:
    with pytest.raises(DnRError, match=r"^`user_concepts`: .*'fluffy dog'"):
        user_source(["red", "fluffy dog"], stack)


@pytest.mark.parametrize(("wanted", "quality"), [("simulated", 0.5), ("simulated:0", 0), ("simulated:1", 1)])
def test_a_simulated_user_has_a_quality(stack: Stack, wanted: str, quality: float) -> None:
    user = user_source(wanted, stack)
    assert isinstance(user, SimulatedUser)
    assert user.quality == quality
    concepts = user(200, np.random.default_rng(5))
    assert len(concepts) == user.count
    assert concepts == user(200, np.random.default_rng(5)) == user_source(wanted, stack)(200, np.random.default_rng(5))  # type: ignore[misc]
    assert len({tuple(user(200, np.random.default_rng(seed))) for seed in range(8)}) > 1
    assert [stack.language.normalise(concept) for concept in concepts] == concepts


@pytest.mark.parametrize("wanted", [f"simulated:{text}" for text in ("2", "-0.1", "nan", "good", "1:2")])
def test_a_quality_is_from_zero_to_one(stack: Stack, wanted: str) -> None:
    with pytest.raises(DnRError, match=f"^`user_concepts` must be simulated:QUALITY .*{re.escape(repr(wanted))}"):
        user_source(wanted, stack)


def test_good_users_know_more_than_bad_ones(stack: Stack) -> None:
    neurons = [i for i, name in enumerate(stack.neurons) if name.startswith("planted")][::6]

    def simulation(quality: float) -> list[float]:
        user = SimulatedUser(stack, quality)
        found = []
        for neuron in neurons:
            texts = [text for episode in range(3) for text in user(neuron, np.random.default_rng(episode))]
            similarity = stack.embedder.embed_texts(texts) @ stack.probe.embeddings.T
            activations = np.broadcast_to(stack.probe.all_raw(np.array([neuron]))[:, 0], similarity.shape)
            found.append(float(correlation(similarity, activations).mean()))
        return found

    good, bad, between = (np.array(simulation(quality)) for quality in (1.0, 0.0, 0.5))
    assert (good > bad).all()
    assert good.mean() > bad.mean() + 0.2
    assert bad.mean() < between.mean() < good.mean()


def test_a_good_user_knows_what_no_mutator_does(stack: Stack) -> None:
    """Some concepts have more words than the vocabulary allows, and some are better than the one promised most.

    Both are fewer than without a price, as a fourth word seldom adds what it costs.
    """
    names = stack.neurons.named("layer4:0-63")
    neurons = np.array(stack.neurons.indices(names))
    user, rng = SimulatedUser(stack, 1.0, count=1), np.random.default_rng(0)
    given = [user(neuron, rng)[0] for neuron in neurons.tolist()]
    assert np.mean([text not in stack.vocabulary.concepts for text in given]) > 0.4
    assert all(stack.language.normalise(text) == text for text in given)
    promised = [texts[0] for texts in make_agent("promise").labels(stack, names, "grounded_k") or ()]
    ours, theirs = (
        held_out_value(stack, Rules(), texts=texts, neurons=neurons, blocks=np.full(len(neurons), 3))
        for texts in (given, promised)
    )
    assert (ours > theirs + 0.02).mean() > 0.15
    assert np.maximum(ours, theirs).mean() > theirs.mean() + 0.008


def test_a_user_of_other_images_takes_the_best_word_of_them(stack: Stack) -> None:
    """A stack without an embedded world has only the images beside its probe set."""
    beside = stack.probe
    real = replace(stack, insight=None, probes=ProbeSource(lambda _: stack.probe, beside=lambda: beside))
    user = user_source("simulated:1", real)
    assert user
    neuron = stack.neurons.index("planted:3")
    for text in user(neuron, np.random.default_rng(0)):
        assert text in stack.vocabulary.concepts
        assert beside.simulation(stack.embedder.embed_texts([text]), np.array([neuron])) > 0.2


def test_without_other_images_there_is_no_simulated_user(stack: Stack) -> None:
    real = replace(stack, insight=None)
    with pytest.raises(
        DnRError, match=r"`user_concepts` must be a list, a file or a callable .* \(got 'simulated:0.5'\)"
    ):
        user_source("simulated:0.5", real)
    assert user_source(["red"], real)


def test_a_callable_that_returns_one_text_is_refused() -> None:
    env = RefineEnv(user_concepts=lambda neuron, rng: "red star")
    with pytest.raises(DnRError, match=r"^`user_concepts` must return a list of texts \(got the text 'red star'\)$"):
        env.reset(seed=0)
