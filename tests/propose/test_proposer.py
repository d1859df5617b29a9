"""Candidates of a neuron: where they come from, and that they are the same at every call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dnr_env.errors import DnRError
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.store import Store
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Captioner, Origin, Summary, Usage, Writer
from dnr_env.propose.proposer import Proposer, drawable
from dnr_env.stack import Stack
from dnr_env.types import Images


class FixedWriter:
    """Gives the same texts for every neuron, and counts what it is asked."""

    fingerprint = "fixed"
    origin: Origin = "writer"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[int] = []

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        self.asked.append(len(captions))
        return [Summary(self.texts, Usage(1, 20, 3)) for _ in captions]


class FixedCaptioner:
    """Says one text of every image."""

    fingerprint = "fixed"

    def __init__(self, text: str) -> None:
        self.text = text

    def caption(self, images: Images) -> list[str]:
        return [self.text] * len(images)


def proposer_of(
    stack: Stack,
    store: Store | None = None,
    captioner: Captioner | None = None,
    writer: Writer | None = None,
    most: int | None = None,
) -> Proposer:
    """The stack's proposer with some of its parts replaced."""
    ours = stack.proposer
    lab = Lab(stack.lab.generator, stack.lab.reader, store)
    return Proposer(
        lab, stack.vocabulary, stack.language, captioner or ours.captioner, writer or ours.writer, most=most
    )


def test_proposals_are_distinct_drawable_and_the_same_at_every_call(stack: Stack) -> None:
    without_store = proposer_of(stack)
    for neuron in (0, 100, len(stack.neurons) - 1):
        (proposal,) = stack.proposer.propose([neuron], 6)
        proposals = proposal.concepts
        assert 1 <= len(set(proposals)) == len(proposals) <= 6
        assert [stack.language.normalise(text) for text in proposals] == proposals
        assert [excerpt.exemplar for excerpt in proposal.excerpts] == list(range(10))
        assert stack.proposer.propose([neuron], 6) == [proposal]
        assert without_store.propose([neuron], 6) == [proposal]


def test_the_pictures_of_a_proposal_are_the_exemplars(stack: Stack) -> None:
    (proposal,) = stack.proposer.propose([150], 3)
    pictures = stack.proposer.pictures(150, proposal.excerpts)
    np.testing.assert_array_equal(pictures, stack.probe.images(stack.probe.exemplars[150]))


def test_nothing_is_described_of_a_neuron_that_does_not_respond(stack: Stack) -> None:
    whole = stack.probes.whole
    activations = whole.all_raw(whole.neurons)
    activations[:, 3] = 1.0
    probe = Probe("idle", activations, whole.embeddings, whole.images)
    vocabulary = Vocabulary(lambda: stack.vocabulary.concepts, stack.embedder, ProbeSource(lambda _: probe))
    ours = stack.proposer
    first, later = (Proposer(ours.lab, vocabulary, stack.language, ours.captioner, ours.writer) for _ in range(2))
    assert first.propose([3], 6)[0].excerpts == first.described(3, 6) == later.described(3, 6) == []
    assert len(later.described(4, 6)) == 10


def test_a_writer_is_asked_once_for_a_neuron_and_its_answer_is_kept(stack: Stack, tmp_path: Path) -> None:
    store, writer = Store(tmp_path / "store.sqlite"), FixedWriter("a RED star", "red star", "fluffy dog", "stripes")
    proposer = proposer_of(stack, store, writer=writer)
    first = proposer.propose([3, 3, 4], 8)
    assert writer.asked == [2]
    assert [proposal.concepts for proposal in first] == [["red star", "striped thing"]] * 3
    assert {proposal.usage for proposal in first} == {Usage(1, 20, 3)}
    again = FixedWriter("never asked")
    assert proposer_of(stack, store, writer=again).propose([4, 3], 8) == [first[2], first[0]]
    assert not again.asked
    store.close()


def test_the_stack_may_allow_fewer_candidates_than_are_asked_for(stack: Stack) -> None:
    proposer = proposer_of(stack, writer=FixedWriter("red", "blue", "green"), most=2)
    assert proposer.propose([0], 8)[0].concepts == ["red thing", "blue thing"]
    assert proposer.propose([0], 1)[0].concepts == ["red thing"]


def test_captions_stand_in_where_no_answer_can_be_drawn(stack: Stack) -> None:
    proposer = proposer_of(stack, captioner=FixedCaptioner("a red disc"), writer=FixedWriter("fluffy dog"))
    assert proposer.propose([0], 8)[0].concepts == ["red circle"]
    silent = proposer_of(stack, captioner=FixedCaptioner("nothing"), writer=FixedWriter("fluffy dog"))
    with pytest.raises(DnRError, match=r"^`neuron` must have a candidate .* \(got layer1:0.*options\['concepts'\]"):
        silent.propose([0], 8)


def test_of_texts_the_distinct_concepts_are_kept_in_their_order(stack: Stack) -> None:
    assert drawable(["star", "fluffy dog", "", "a STAR", "red"], stack.language) == ["star", "red thing"]
    assert drawable([], stack.language) == []
