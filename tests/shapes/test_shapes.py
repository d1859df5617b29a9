"""The embedded world: words, parser, renderer, target, planted neurons, and what stands in for language models."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dnr_env
from dnr_env.errors import ConceptError
from dnr_env.interfaces import MutationBatch
from dnr_env.neurons import split_of
from dnr_env.seeds import Purpose
from dnr_env.shapes import fresh, lexicon, planted, train_target
from dnr_env.shapes.directions import DirectionsReader
from dnr_env.shapes.language import EvidenceMutator, LexiconEmbedder, LexiconWriter, RandomMutator
from dnr_env.shapes.lexicon import (
    ANYTHING,
    BACKGROUND,
    COLOUR,
    FAMILIES,
    FAMILY_SLICES,
    MAX_NAMED,
    OPEN,
    SHAPE,
    VALUES,
    WORDS,
)
from dnr_env.shapes.network import to_input
from dnr_env.shapes.optimum import SCORES
from dnr_env.shapes.paint import SIDE
from dnr_env.shapes.parse import MAX_TEXT, normalise, parse, values_of
from dnr_env.shapes.planted import FORMULAS, Formula, precision_recall
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer, _own_seed, draw
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, ImageArray, IntArray

FRESH = 1 << 50  # seeds that neither training nor any block of the environment uses
VOCABULARY = lexicon.vocabulary()
SOME = settings(deadline=None, max_examples=100)

concepts = st.sampled_from(VOCABULARY)


def allowed_codes(family: int, word: str) -> list[int]:
    """The renderer's codes of a word or hypernym, from the tables as they are written."""
    names = FAMILIES[family].hypernyms.get(word, (word,))
    return [FAMILIES[family].words.index(name) for name in names]


def asked_for(concept: str) -> dict[int, list[int]]:
    """The codes that each named family of a concept allows."""
    return {f: allowed_codes(f, VALUES[v][1]) for f, v in enumerate(values_of(concept)) if v != OPEN}


def one_hot(codes: IntArray) -> FloatArray:
    """Word probabilities of a detector that is sure of these codes (n, families)."""
    probabilities = np.zeros((len(codes), len(WORDS)), np.float32)
    for family, part in enumerate(FAMILY_SLICES):
        probabilities[np.arange(len(codes)), part.start + codes[:, family]] = 1
    return probabilities


def random_codes(n: int, seed: int) -> IntArray:
    """Codes (n, families), all equally likely."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(len(family.words), size=n) for family in FAMILIES])


@pytest.fixture(scope="module")
def reader(stack: Stack) -> ShapesReader:
    assert isinstance(stack.proposer.captioner, ShapesReader)
    return stack.proposer.captioner


@pytest.fixture(scope="module")
def pictures() -> ImageArray:
    return Renderer().generate([ANYTHING] * 37, range(FRESH, FRESH + 37))


# --- words ---------------------------------------------------------------------------------------


def test_there_are_enough_words_for_a_search() -> None:
    assert len(set(WORDS)) == len(WORDS) >= 35
    assert len(FAMILIES) >= 5
    assert len(VOCABULARY) >= 5000
    names = [name for _, name in VALUES]
    assert len(set(names)) == len(names)


def test_every_concept_of_the_vocabulary_reads_back_as_itself() -> None:
    values = [values_of(text) for text in VOCABULARY]
    assert [lexicon.text_of(v) for v in values] == list(VOCABULARY)
    assert len(set(values)) == len(VOCABULARY)
    assert {sum(v != OPEN for v in row) for row in values} == set(range(1, MAX_NAMED + 1))


def test_hypernyms_are_over_words_of_their_own_family() -> None:
    for family in FAMILIES:
        for members in family.hypernyms.values():
            assert 1 < len(set(members)) < len(family.words)
            assert set(members) <= set(family.words)


# --- parser --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phrase", "concept"),
    [
        ("a small warm striped thing on black", "small warm striped thing on black"),
        ("Stars, RED and huge!", "huge red star"),
        ("polka dots", "dotted thing"),
        ("a round thing", "round thing"),
        ("violet discs against a white background", "purple circle on snow"),
        ("white star", "white star"),
        ("star on white", "star on snow"),
        ("something on a lawn", "thing on grass"),
        ("ＲＥＤ ｓｔａｒ", "red star"),
        ("small red striped star on black", "small red striped star on black"),
        (ANYTHING, ANYTHING),
    ],
)
def test_phrases(phrase: str, concept: str) -> None:
    assert normalise(phrase) == concept


def test_unknown_words_are_reported_and_the_rest_is_read() -> None:
    parsed = parse("a fluffy red dog, dotted")
    assert parsed.unknown == ("fluffy", "dog")
    assert lexicon.text_of(parsed.values) == "red dotted thing"


def test_the_first_word_of_a_family_wins_and_the_others_are_reported() -> None:
    parsed = parse("a red blue star, warm or red, not a cross")
    assert lexicon.text_of(parsed.values) == "red star"
    assert parsed.ignored == ("blue", "warm", "cross")


@pytest.mark.parametrize("text", ["", "   ", "the thing", "fluffy dog", "🙂", "...", "\0", "\ud800", "'; DROP TABLE"])
def test_what_says_nothing_is_no_concept(text: str) -> None:
    with pytest.raises(ConceptError, match=r"^`concept` must .* \(got .*\)$"):
        normalise(text)


def test_a_long_text_is_no_concept_and_its_error_is_short() -> None:
    assert normalise("red" + " " * (MAX_TEXT - 3)) == "red thing"
    for text in ("red" + " " * (MAX_TEXT - 2), "red " * 2_500_000):
        with pytest.raises(
            ConceptError, match=rf"^`concept` must be a text of at most {MAX_TEXT} characters \(got {len(text)}\)$"
        ) as error:
            normalise(text)
        assert len(str(error.value)) < 200


@given(st.text(max_size=80) | st.lists(st.sampled_from([*(w for _, w in VALUES), "on", "not", "dots"])).map(" ".join))
@settings(deadline=None, max_examples=300)
def test_any_text_is_refused_or_becomes_a_canonical_one(text: str) -> None:
    try:
        concept = normalise(text)
    except ConceptError:
        return
    assert normalise(concept) == concept
    assert parse(concept).unknown == parse(concept).ignored == ()


@given(concepts, st.randoms(use_true_random=False))
@SOME
def test_order_and_case_do_not_matter(concept: str, random: object) -> None:
    values = values_of(concept)
    words = [VALUES[value][1].upper() for value in values if value != OPEN]
    random.shuffle(words)  # type: ignore[attr-defined]
    assert parse(", ".join(words)).values == values


# --- renderer ------------------------------------------------------------------------------------


def test_pictures_are_a_function_of_concept_and_seed() -> None:
    texts = [VOCABULARY[i] for i in np.random.default_rng(0).integers(len(VOCABULARY), size=70)]
    seeds = list(range(FRESH, FRESH + 70))
    together = Renderer().generate(texts, seeds)
    assert together.shape == (70, SIDE, SIDE, 3)
    assert together.dtype == np.uint8
    again = Renderer().generate(texts[::-1], seeds[::-1])[::-1]
    np.testing.assert_array_equal(together, again)
    for i in (0, 31, 32, 69):
        np.testing.assert_array_equal(Renderer().generate(texts[i : i + 1], seeds[i : i + 1])[0], together[i])
    assert len({image.tobytes() for image in together}) == 70


@given(concepts, st.integers(0, 5 << 30))
@SOME
def test_pictures_show_what_is_asked_and_leave_the_rest_to_the_seed(concept: str, seed: int) -> None:
    codes, uniforms = Renderer().resolve([concept, ANYTHING], [seed, seed])
    np.testing.assert_array_equal(uniforms[0], uniforms[1])
    asked = asked_for(concept)
    for family in range(len(FAMILIES)):
        if family in asked:
            assert codes[0, family] in asked[family]
        else:
            assert codes[0, family] == codes[1, family]


def test_a_concept_that_names_what_the_seed_would_have_drawn_changes_no_pixel() -> None:
    seeds = range(FRESH, FRESH + 40)
    codes, _ = Renderer().resolve([ANYTHING] * 40, seeds)
    named = [f"{FAMILIES[COLOUR].words[c[COLOUR]]} {FAMILIES[SHAPE].words[c[SHAPE]]}" for c in codes]
    np.testing.assert_array_equal(Renderer().generate(named, seeds), Renderer().generate([ANYTHING] * 40, seeds))


def test_what_is_left_open_takes_every_value_equally_often() -> None:
    codes, _ = Renderer().resolve(["warm thing"] * 4000, range(FRESH, FRESH + 4000))
    for family, allowed in enumerate([range(4), allowed_codes(COLOUR, "warm"), range(8), range(10), range(8)]):
        counts = np.bincount(codes[:, family], minlength=len(FAMILIES[family].words))
        share = 1 / len(allowed)
        error = np.sqrt(share * (1 - share) / 4000)
        np.testing.assert_allclose(counts[list(allowed)] / 4000, share, atol=5 * error)
        assert counts.sum() == counts[list(allowed)].sum()


def test_each_attribute_can_be_seen() -> None:
    """Every pair of words of a family makes another picture of the same seed."""
    for names in (family.words for family in FAMILIES):
        concepts = [normalise(f"on {name}" if name in FAMILIES[BACKGROUND].words else name) for name in names]
        images = Renderer().generate(concepts, [7] * len(concepts))
        for a, b in itertools.combinations(images.astype(int), 2):
            assert np.abs(a - b).max() > 20


@pytest.mark.parametrize("p", [0.2, 0.6])
@pytest.mark.parametrize("concept", ["small red thing", "warm patterned star", "big thing on black"])
def test_infidelity_is_the_share_of_attributes_drawn_otherwise(p: float, concept: str) -> None:
    n = 3000
    seeds = range(FRESH, FRESH + n)
    codes, _ = Renderer(p).resolve([concept] * n, seeds)
    faithful, _ = Renderer().resolve([concept] * n, seeds)
    asked = asked_for(concept)
    for family in range(len(FAMILIES)):
        if family not in asked:
            np.testing.assert_array_equal(codes[:, family], faithful[:, family])
            continue
        right = np.isin(codes[:, family], asked[family])
        assert np.mean(~right) == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / n))
        np.testing.assert_array_equal(codes[right, family], faithful[right, family])


# --- target --------------------------------------------------------------------------------------


def test_measurements_do_not_depend_on_batch_mates(reader: ShapesReader, pictures: ImageArray) -> None:
    activations, embeddings = reader.read(pictures)
    assert activations.shape == (37, len(reader.neurons))
    assert embeddings.shape == (37, reader.dim)
    assert activations.dtype == embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(1).permutation(37)
    shuffled = reader.read(pictures[order])
    np.testing.assert_array_equal(shuffled[0], activations[order])
    np.testing.assert_array_equal(shuffled[1], embeddings[order])
    for i in (0, 15, 16, 36):
        alone = reader.read(pictures[i : i + 1])
        np.testing.assert_array_equal(alone[0][0], activations[i])
        np.testing.assert_array_equal(alone[1][0], embeddings[i])
    assert [len(part) for part in reader.read(pictures[:0])] == [0, 0]


_DIGEST = """
import hashlib, sys
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer
images = Renderer(0.3).generate([sys.argv[1]] * 20, range(int(sys.argv[2]), int(sys.argv[2]) + 20))
reader = ShapesReader(16)
measured = b"".join(part.tobytes() for part in reader.read(images))
print(hashlib.sha256(images.tobytes() + measured + "|".join(reader.caption(images)).encode()).hexdigest())
"""


def test_another_process_with_other_threads_and_hashes_measures_the_same(reader: ShapesReader) -> None:
    images = Renderer(0.3).generate(["warm star"] * 20, range(FRESH, FRESH + 20))
    measured = b"".join(part.tobytes() for part in reader.read(images))
    expected = hashlib.sha256(images.tobytes() + measured + "|".join(reader.caption(images)).encode())
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", _DIGEST, "warm star", str(FRESH)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == expected.hexdigest()


@pytest.mark.parametrize("width", [16, 12])
def test_the_shipped_detectors_name_every_family(width: int) -> None:
    codes, uniforms = Renderer().resolve([ANYTHING] * 500, range(FRESH, FRESH + 500))
    accuracy = train_target.accuracy(ShapesReader(width)._network, to_input(draw(codes, uniforms)), codes)
    assert set(accuracy) == {family.name for family in FAMILIES}
    assert min(accuracy.values()) >= 0.9


def test_a_few_steps_of_training_learn_something(tmp_path: Path) -> None:
    """From nothing to better than chance, which is one in four to one in ten."""
    network = train_target.train(width=4, seed=3, steps=40, checkpoint=tmp_path / "checkpoint", batch=16)
    codes, uniforms = Renderer().resolve([ANYTHING] * 200, range(FRESH, FRESH + 200))
    with torch.inference_mode():
        accuracy = train_target.accuracy(network, to_input(draw(codes, uniforms)), codes)
    assert accuracy["background"] > 0.25


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_target, "_SAVED_EVERY", 4)
    whole = train_target.train(3, 5, 12, tmp_path / "a", batch=8).state_dict()
    assert not list(tmp_path.iterdir())
    draw, drawn = train_target._batch, []

    def stop_after_six(first: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append(first)
        if len(drawn) == 7:
            raise KeyboardInterrupt
        return draw(first, size)

    monkeypatch.setattr(train_target, "_batch", stop_after_six)
    with pytest.raises(KeyboardInterrupt):
        train_target.train(3, 5, 12, tmp_path / "b", batch=8)
    parts = train_target.train(3, 5, 12, tmp_path / "b", batch=8).state_dict()
    assert len(drawn) == 7 + 8  # the steps after the checkpoint at step 4
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_the_second_target_is_another_network_with_the_same_layers(stack: Stack, pictures: ImageArray) -> None:
    first, second = stack.lab.reader, dnr_env.load_stack("shapes-transfer").lab.reader
    layers = [list(dict.fromkeys(name.split(":")[0] for name in target.neurons)) for target in (first, second)]
    assert layers[0] == layers[1] == ["layer1", "layer2", "layer3", "layer4", "planted"]
    assert first.fingerprint != second.fingerprint
    count = len(FORMULAS)
    ours, theirs = (target.read(pictures)[0][:, -count:] for target in (first, second))
    assert not np.array_equal(ours, theirs)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_the_unfaithful_stack_draws_otherwise_but_knows_the_same_real_images(stack: Stack) -> None:
    other = dnr_env.load_stack("shapes-unfaithful")
    assert other.lab.generator.fingerprint != stack.lab.generator.fingerprint
    seeds = np.arange(FRESH, FRESH + 60)[None]
    column = stack.neurons.index(f"planted:{FORMULAS.index('red')}")
    red, less_red = (
        s.lab.measure(concepts=["red thing"], seeds=seeds).activations[0, :, column] for s in (stack, other)
    )
    assert red.min() > 0.3
    assert 2 <= np.sum(less_red < 0.3) <= 25
    theirs, ours = (one.probes.whole.all_raw(one.probes.whole.neurons) for one in (other, stack))
    np.testing.assert_array_equal(theirs, ours)
    assert other.probe.fingerprint == stack.probe.fingerprint


def test_unpaired_images_differ_in_what_a_seed_decides_and_in_nothing_that_is_named() -> None:
    seeds = range(FRESH, FRESH + 400)
    paired, unpaired = Renderer(), Renderer(paired=False)
    for concept in ("red star", "warm thing"):
        codes, uniforms = unpaired.resolve([concept] * 400, seeds)
        together, shared = paired.resolve([concept] * 400, seeds)
        assert not np.isclose(uniforms, shared).any(axis=1).all()
        for family, words in asked_for(concept).items():
            assert np.isin(codes[:, family], words).all()
            np.testing.assert_array_equal(np.unique(codes[:, family]), np.unique(together[:, family]))
    (one, _), (other, _) = (unpaired.resolve([text] * 400, seeds) for text in ("red star", "blue star"))
    alike, _ = paired.resolve(["blue star"] * 400, seeds)
    texture = lexicon.TEXTURE
    assert np.mean(one[:, texture] == other[:, texture]) < 0.3
    np.testing.assert_array_equal(paired.resolve(["red star"] * 400, seeds)[0][:, texture], alike[:, texture])
    np.testing.assert_array_equal(unpaired.resolve(["red star"] * 400, seeds)[0], one)


@given(st.sampled_from(list(Purpose)), st.integers(0, (1 << 30) - 1), concepts)
@settings(deadline=None)
def test_unpaired_seeds_stay_in_their_block(block: Purpose, place: int, concept: str) -> None:
    assert 0 <= _own_seed(concept, block + place) - block < 1 << 30


def test_nobody_says_a_word_that_is_withheld() -> None:
    """Not the proposals, not the mutators, not the simulated user, not the optimum."""
    withheld = dnr_env.load_stack("shapes-withheld")
    said = set(withheld.vocabulary.concepts)
    assert not any(lexicon.WITHHELD & set(text.split()) for text in said)
    for text in set(VOCABULARY) - said:
        assert lexicon.WITHHELD & set(text.split())
    assert set(withheld.known.optimum("grounded_k").values()) <= said
    for mutator in withheld.mutators:
        envs = gym.make_vec(
            "dnr_env:DnR/Refine-v0", num_envs=8, stack="shapes-withheld", mutator=mutator, user_concepts="simulated:0.5"
        )
        _, infos = envs.reset(seed=3)
        for step in range(8):
            action = dnr_env.Action.ADD if step == 0 else dnr_env.Action.MUTATE
            _, _, _, _, infos = envs.step(np.full(8, action))
        heard = {text for texts in infos["master"] for text in texts} - {""}
        assert len(heard) > 8
        assert not any(lexicon.WITHHELD & set(text.split()) for text in heard)  # the user may say longer concepts
        envs.close()


def test_loading_the_target_leaves_the_dice_of_torch_alone() -> None:
    """Or a training would end otherwise on a cold store than on a warm one."""
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    ShapesReader(16).read(Renderer().generate(["red star"], [FRESH]))
    assert torch.equal(torch.rand(3), wanted)


def test_directions_join_two_train_channels_of_one_layer() -> None:
    base = ShapesReader(16)
    reader = DirectionsReader(base)
    pairs, weights, kinds = reader._parts
    names = np.array(base.neurons)[pairs]
    assert all(split_of(name) == "train" for name in names.ravel())
    assert all(one.split(":")[0] == other.split(":")[0] != "planted" for one, other in names)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    images = Renderer().generate(["thing"] * 20, range(FRESH, FRESH + 20))
    activations, embeddings = reader.read(images)
    channels, same = base.read(images)
    np.testing.assert_array_equal(embeddings, same)
    np.testing.assert_array_equal(reader.read(images[3:4])[0], activations[3:4])
    for place in (0, 1, 2, 300, 599):
        first, second = channels[:, pairs[place]].T / reader._spread[pairs[place]][:, None]
        second = weights[place] * second
        wanted = (first + second, first - second, np.maximum(first, second))[kinds[place]]
        np.testing.assert_allclose(activations[:, place], wanted, rtol=1e-5, atol=1e-6)


# --- planted neurons -----------------------------------------------------------------------------


def activations_of(formulas: Sequence[str], probabilities: FloatArray) -> FloatArray:
    """Activations (n, formulas) of neurons with these formulas."""
    return planted.activations(probabilities, [Formula.read(text) for text in formulas])


def is_true(formula: str, shown: set[str]) -> bool:
    """Whether a formula holds of a picture that shows these base words."""

    def holds(name: str) -> bool:
        words = next((set(f.hypernyms[name]) for f in FAMILIES if name in f.hypernyms), {name})
        return bool(words & shown)

    match formula.split():
        case [one]:
            return holds(one)
        case [a, "&", b]:
            return holds(a) and (not holds(b[1:]) if b[0] == "!" else holds(b))
        case [a, "|", b]:
            return holds(a) or holds(b)
    raise AssertionError(formula)


def test_there_are_formulas_of_every_kind() -> None:
    hypernyms = {name for family in FAMILIES for name in family.hypernyms}
    assert len(set(FORMULAS)) == len(FORMULAS) >= 60
    assert sum(f in WORDS for f in FORMULAS) >= 5
    assert sum(f in hypernyms for f in FORMULAS) >= 5
    assert sum("|" in f for f in FORMULAS) >= 5
    assert sum("&" in f and "!" not in f for f in FORMULAS) >= 5
    assert sum("!" in f for f in FORMULAS) >= 5


def test_planted_neurons_are_their_formulas_where_the_detector_is_sure() -> None:
    codes = random_codes(400, seed=2)
    found = activations_of(FORMULAS, one_hot(codes))
    for row, picture in enumerate(codes):
        shown = {family.words[code] for family, code in zip(FAMILIES, picture, strict=True)}
        assert found[row].tolist() == [float(is_true(formula, shown)) for formula in FORMULAS]


def test_planted_neurons_are_probabilities_where_it_is_not() -> None:
    rng = np.random.default_rng(3)
    rows = [np.concatenate([rng.dirichlet(np.ones(len(f.words))) for f in FAMILIES]) for _ in range(50)]
    found = activations_of(FORMULAS, np.array(rows))
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-9
    for row, values in zip(rows, found, strict=True):
        p = dict(zip(WORDS, row, strict=True))
        warm = sum(p[word] for word in FAMILIES[COLOUR].hypernyms["warm"])
        round_ = sum(p[word] for word in FAMILIES[SHAPE].hypernyms["round"])
        by_hand = {
            "red": p["red"],
            "warm": warm,
            "red & striped": p["red"] * p["striped"],
            "red | dotted": p["red"] + p["dotted"] - p["red"] * p["dotted"],
            "pink | purple": p["pink"] + p["purple"],
            "warm & !red": warm - p["red"],
            "round & !solid": round_ * (1 - p["solid"]),
        }
        for formula, value in by_hand.items():
            assert values[FORMULAS.index(formula)] == pytest.approx(value)


def test_planted_neurons_fire_for_pictures_of_their_formula(reader: ShapesReader) -> None:
    codes, uniforms = Renderer().resolve([ANYTHING] * 500, range(FRESH, FRESH + 500))
    found = reader.read(draw(codes, uniforms))[0][:, -len(FORMULAS) :]
    np.testing.assert_array_equal(
        np.mean(np.abs(found - activations_of(FORMULAS, one_hot(codes))) > 0.5, axis=0) < 0.1, True
    )


def test_formulas_are_known_for_planted_neurons_alone(stack: Stack) -> None:
    names = stack.neurons
    truths = [stack.known.truth(name) for name in names]
    assert truths[-len(FORMULAS) :] == list(FORMULAS)
    assert set(truths[: -len(FORMULAS)]) == {None}
    directions = dnr_env.load_stack("shapes-directions")
    assert {directions.known.truth(name) for name in directions.neurons} == {None}


def test_fresh_formulas_are_drawn_by_the_rule_and_of_the_kinds_of_the_others() -> None:
    assert fresh.draw() == fresh.FRESH
    kinds, fresh_kinds = (Counter(re.sub(r"\w+", "value", f) for f in all_) for all_ in (FORMULAS, fresh.FRESH))
    singles = kinds.pop("value")
    assert singles - fresh_kinds.pop("value") == 9  # there are only three more hypernyms, not twelve
    assert kinds == fresh_kinds
    hypernyms = {name for family in FAMILIES for name in family.hypernyms}
    assert hypernyms <= {*FORMULAS, *fresh.FRESH}
    assert sum(f in WORDS for f in FORMULAS) == sum(f in WORDS for f in fresh.FRESH)


def test_fresh_formulas_say_something_that_no_other_says() -> None:
    """By what they are true of, over every picture that there can be."""
    codes = np.array(list(itertools.product(*(range(len(family.words)) for family in FAMILIES))))
    shown = one_hot(codes)

    def truths(formulas: Sequence[str]) -> list[FloatArray]:
        return list(activations_of(formulas, shown).T > 0.5)

    single = {truth.tobytes() for truth in truths([name for _, name in VALUES])}
    ours = truths(fresh.FRESH)
    assert len({truth.tobytes() for truth in (*ours, *truths(FORMULAS))}) == len(fresh.FRESH) + len(FORMULAS)
    for formula, truth in zip(fresh.FRESH, ours, strict=True):
        assert truth.any()
        assert not truth.all()
        assert (truth.tobytes() in single) == (" " not in formula)
        for picture in np.random.default_rng(0).integers(len(codes), size=100):
            words = {family.words[code] for family, code in zip(FAMILIES, codes[picture], strict=True)}
            assert truth[picture] == is_true(formula, words)


def test_fresh_neurons_are_read_as_planted_ones_are(reader: ShapesReader) -> None:
    """With the formulas of `planted` in the place of its own, it would give the very numbers of that layer."""
    codes, uniforms = Renderer().resolve([ANYTHING] * 500, range(FRESH, FRESH + 500))
    images = draw(codes, uniforms)
    ours = fresh.FreshReader(reader)
    assert ours.fingerprint != reader.fingerprint
    found, embeddings = ours.read(images)
    assert found.shape == (500, len(ours.neurons))
    assert (np.mean(np.abs(found - activations_of(fresh.FRESH, one_hot(codes))) > 0.5, axis=0) < 0.1).all()
    np.testing.assert_array_equal(ours.read(images[3:4])[0], found[3:4])
    theirs, same = reader.read(images)
    np.testing.assert_array_equal(embeddings, same)
    ours._formulas = [Formula.read(text) for text in (*fresh.FRESH[:-1], "red")]
    np.testing.assert_array_equal(ours.read(images)[0][:, -1], theirs[:, reader.neurons.index("planted:0")])


def test_the_stack_of_fresh_neurons_knows_their_formulas_and_their_best_concepts() -> None:
    stack = dnr_env.load_stack("shapes-fresh")
    names = stack.neurons
    assert [stack.known.truth(name) for name in names] == list(fresh.FRESH)
    assert {name.split(":")[0] for name in names} == {"fresh"}
    for score in SCORES:
        best = stack.known.optimum(score)
        assert list(best) == list(names)
        assert set(best.values()) <= set(VOCABULARY)
        for name in names[:20]:  # of a single word or hypernym
            truth = stack.known.truth(name)
            assert truth is not None
            assert min(precision_recall(truth, best[name])) > 0


@pytest.mark.parametrize(
    ("formula", "label", "precision", "recall"),
    [
        ("red", "red thing", 1, 1),
        ("red", "warm thing", 1 / 5, 1),
        ("warm", "red thing", 1, 1 / 5),
        ("pale", "warm thing", 2 / 5, 2 / 4),
        ("red", "star", 0, 0),
        ("red", "blue thing", 0, 0),
        ("red", ANYTHING, 0, 0),
        ("red", "huge red star", 1 / 3, 1),
        ("red & striped", "red striped thing", 1, 1),
        ("red & striped", "red thing", 1, 1 / 2),
        ("red & striped", "red star", 1 / 2, 1 / 2),
        ("red | dotted", "red thing", 1, 1 / 2),
        ("pink | purple", "purple thing", 1, 1 / 2),
        ("round & !solid", "round thing", 1, 1 / 2),
        ("round & !solid", "round solid thing", 1 / 2, 1 / 2),
        ("warm & !red", "orange thing", 1, 1 / 4),
        ("warm & !red", "red thing", 0, 0),
        ("warm & !red", "warm thing", 4 / 5, 1),
    ],
)
def test_precision_and_recall_by_hand(formula: str, label: str, precision: float, recall: float) -> None:
    assert precision_recall(formula, label) == pytest.approx((precision, recall))


@given(st.sampled_from(FORMULAS), concepts)
@SOME
def test_precision_and_recall_are_shares(formula: str, label: str) -> None:
    precision, recall = precision_recall(formula, label)
    assert 0 <= precision <= 1
    assert 0 <= recall <= 1
    assert (precision == 0) == (recall == 0)


# --- embeddings, captions, candidates ------------------------------------------------------------


@given(st.integers(0, 1 << 30))
@SOME
def test_word_probabilities_and_embeddings_are_inverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sharpness = rng.choice([0.05, 1.0, 20.0])
    rows = np.array([np.concatenate([rng.dirichlet(np.full(len(f.words), sharpness)) for f in FAMILIES])])
    embeddings = lexicon.embed_words(rows)
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(lexicon.word_probabilities(embeddings), rows, atol=1e-5)


def test_total_probabilities_are_weighted_sums_over_the_images_there_are() -> None:
    rng = np.random.default_rng(1)
    rows = [np.concatenate([rng.dirichlet(np.ones(len(f.words))) for f in FAMILIES]) for _ in range(3 * 20)]
    probabilities = np.array(rows, np.float32).reshape(3, 20, -1)
    embeddings = lexicon.embed_words(probabilities.reshape(60, -1)).reshape(3, 20, -1)
    weights = rng.normal(size=(3, 2, 20)).astype(np.float32)
    embeddings[:, 15:], weights[..., 15:] = 0, 0
    expected = weights[..., :15] @ probabilities[:, :15]
    np.testing.assert_allclose(lexicon.total_probabilities(weights, embeddings), expected, atol=1e-5)


def test_texts_lie_near_pictures_of_them(reader: ShapesReader) -> None:
    texts = ["red star", "warm dotted thing", "huge thing on grass", "blue ring on black", "checkered square"]
    embedded = LexiconEmbedder().embed_texts(texts)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    for row, text in enumerate(texts):
        images = Renderer().generate([text] * 20, range(FRESH, FRESH + 20))
        similarity = reader.read(images)[1] @ embedded.T
        assert similarity.mean(axis=0).argmax() == row


def test_captions_are_phrases_about_the_picture_alone(reader: ShapesReader) -> None:
    codes, uniforms = Renderer().resolve([ANYTHING] * 300, range(FRESH, FRESH + 300))
    images = draw(codes, uniforms)
    captions = reader.caption(images)
    assert reader.caption(images[::-1])[::-1] == captions
    mentioned = right = 0
    for caption, picture in zip(captions, codes, strict=True):
        parsed = parse(caption)
        assert parsed.unknown == parsed.ignored == ()
        for family, value in enumerate(parsed.values):
            if value != OPEN:
                mentioned += 1
                right += VALUES[value][1] == FAMILIES[family].words[picture[family]]
    assert 1.5 < mentioned / 300 < 4
    assert 0.8 < right / mentioned < 0.98


def summary(captions: list[str], count: int) -> list[str]:
    (found,) = LexiconWriter().summarise([captions], count, [np.random.default_rng(0)])
    return found.concepts


def test_the_writer_says_what_captions_share() -> None:
    rng = np.random.default_rng(4)
    codes = random_codes(40, seed=5)
    words = [[family.words[code] for family, code in zip(FAMILIES, row, strict=True)] for row in codes]
    warm = FAMILIES[COLOUR].hypernyms["warm"]
    of_red_stars = [f"a {size} red {texture} star on {ground}" for size, _, texture, _, ground in words]
    of_warm = [f"a {size} {warm[i % 5]} {shape} on {ground}" for i, (size, _, _, shape, ground) in enumerate(words)]
    for captions, shared in ((of_red_stars, "red star"), (of_warm, "warm thing")):
        concepts = summary(captions, 6)
        assert concepts == summary(captions, 6)
        assert 1 <= len(set(concepts)) == len(concepts) <= 6
        assert shared in concepts
        for concept in concepts:
            assert normalise(concept) == concept
            assert 1 <= sum(value != OPEN for value in values_of(concept)) <= 2
    assert LexiconWriter().summarise([["a thing"] * 10], 3, [rng])[0].concepts


def test_the_writer_is_not_taken_in_by_what_is_common_anyway() -> None:
    """Three in four pictures are patterned by chance, but only one in four is tiny."""
    sizes = ["tiny"] * 24 + ["small"] * 5 + ["large"] * 5 + ["huge"] * 6
    captions = [f"a {size} {FAMILIES[lexicon.TEXTURE].words[i % 8]} thing" for i, size in enumerate(sizes)]
    assert summary(captions, 1) == ["tiny thing"]


# --- mutators ------------------------------------------------------------------------------------

MUTATORS = [RandomMutator(), EvidenceMutator()]


NOBODY = np.zeros(0, int)  # these mutators do not look at the neurons


def batch_of(
    concepts: list[str], tried: list[list[str]], seeds: list[int], images: int = 30, pad: int = 60
) -> MutationBatch:
    """Requests with random evidence, each a function of its own seed; what is beyond `images` is not seen."""
    embeddings, activations = [], []
    for seed in seeds:
        embeddings.append(lexicon.embed_words(one_hot(random_codes(pad, seed))))
        activations.append(np.random.default_rng(seed).normal(size=pad).astype(np.float32))
    seen = np.arange(pad) < np.full((len(concepts), 1), images)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return MutationBatch(
        concepts,
        tried,
        np.array(embeddings),
        np.array(activations),
        seen,
        rngs,
        NOBODY,
        lambda i: [],
        "log_k",
        [None] * len(concepts),
    )


def mutants(mutator: EvidenceMutator | RandomMutator, batch: MutationBatch) -> list[str]:
    return [suggestion.concept for suggestion in mutator.mutate(batch)]


def neighbours(concept: str) -> set[str]:
    """Every concept of the vocabulary that differs in one family."""
    values = values_of(concept)
    found = set()
    for family in range(len(FAMILIES)):
        for value in [OPEN, *(v for v, (f, _) in enumerate(VALUES) if f == family)]:
            edited = (*values[:family], value, *values[family + 1 :])
            if edited != values and 1 <= sum(v != OPEN for v in edited) <= MAX_NAMED:
                found.add(lexicon.text_of(edited))
    return found


@pytest.mark.parametrize("mutator", MUTATORS)
@given(st.lists(concepts | st.just(ANYTHING), min_size=1, max_size=6), st.integers(0, 1 << 20), st.data())
@settings(deadline=None, max_examples=40)
def test_mutants_are_one_edit_away_untried_and_nobody_elses_affair(
    mutator: EvidenceMutator | RandomMutator, texts: list[str], seed: int, data: st.DataObject
) -> None:
    tried: list[list[str]] = []
    for text in texts:
        left = data.draw(st.integers(1, 6))
        order = np.random.default_rng(seed).permutation(sorted(neighbours(text))).tolist()
        tried.append([text, *order[left:]])
    seeds = [seed + i for i in range(len(texts))]
    answers = mutants(mutator, batch_of(texts, tried, seeds))
    for text, known, answer in zip(texts, tried, answers, strict=True):
        assert answer in neighbours(text).difference(known)
    for i in range(len(texts)):
        one = slice(i, i + 1)
        assert mutants(mutator, batch_of(texts[one], tried[one], seeds[one])) == answers[one]


@pytest.mark.parametrize("mutator", MUTATORS)
def test_the_same_text_comes_back_where_all_is_tried(mutator: EvidenceMutator | RandomMutator) -> None:
    assert mutants(mutator, batch_of(["red star"], [list(neighbours("red star"))], [0])) == ["red star"]


@pytest.mark.parametrize("mutator", MUTATORS)
def test_a_concept_that_is_too_long_gets_shorter(mutator: EvidenceMutator | RandomMutator) -> None:
    for text, named in (("small red striped star on black", 4), ("small red striped star", 3)):
        for seed in range(20):
            (answer,) = mutants(mutator, batch_of([text], [[text]], [seed]))
            assert sum(value != OPEN for value in values_of(answer)) == named


def test_images_that_were_not_seen_do_not_matter() -> None:
    batch = batch_of(["red star"] * 8, [[]] * 8, list(range(8)))
    answers = mutants(EvidenceMutator(), batch)
    other = batch_of(["red star"] * 8, [[]] * 8, list(range(8)))
    other.embeddings[:, 30:] = 0
    other.activations[:, 30:] = 1e6
    assert mutants(EvidenceMutator(), other) == answers


def test_without_evidence_every_attribute_may_change() -> None:
    answers = mutants(EvidenceMutator(), batch_of(["red star"] * 200, [[]] * 200, list(range(200)), images=0))
    changed = [
        {f for f, pair in enumerate(zip(values_of("red star"), values_of(t), strict=True)) if len(set(pair)) == 2}
        for t in answers
    ]
    assert set.union(*changed) == set(range(len(FAMILIES)))


def test_evidence_finds_the_attribute_that_excites() -> None:
    """A neuron for striped pictures, noisy: how often does the mutant of "red thing" ask for stripes?"""
    episodes = 300
    codes = random_codes(30 * episodes, seed=6)
    striped = FAMILIES[lexicon.TEXTURE].words.index("striped")
    noise = np.random.default_rng(7).normal(0, 0.2, len(codes))
    activations = ((codes[:, lexicon.TEXTURE] == striped) + noise).astype(np.float32).reshape(episodes, 30)
    embeddings = lexicon.embed_words(one_hot(codes)).reshape(episodes, 30, -1)

    def share(mutator: EvidenceMutator | RandomMutator) -> float:
        rngs = [np.random.default_rng(i) for i in range(episodes)]
        seen = np.ones((episodes, 30), bool)
        tried = [["red thing"]] * episodes
        concepts = ["red thing"] * episodes
        batch = MutationBatch(
            concepts, tried, embeddings, activations, seen, rngs, NOBODY, lambda i: [], "log_k", [None] * episodes
        )
        answers = mutants(mutator, batch)
        return float(np.mean([striped in asked_for(answer).get(lexicon.TEXTURE, []) for answer in answers]))

    assert share(EvidenceMutator()) > 0.5
    assert share(RandomMutator()) < 0.2
