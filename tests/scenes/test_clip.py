"""The small CLIP of `scenes`: its tokenizer, its rows, its weights, its quality and its training."""

from __future__ import annotations

import re
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dnr_env.errors import DnRError
from dnr_env.scenes import clip
from dnr_env.scenes.clip import ClipImages, ClipTexts
from dnr_env.scenes.clip_quality import auc, count_objects, prompts, quality, recall, shown
from dnr_env.scenes.clip_tokens import CONTEXT, TOKENS, tokenize
from dnr_env.scenes.clip_train import WordHead, captioned, contrastive_loss, learning_rate, train
from dnr_env.scenes.render import SceneRenderer
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import BACKGROUND, FAMILIES, VALUES
from dnr_env.shapes.network import to_input
from dnr_env.shapes.parse import parse
from dnr_env.types import FloatArray, ImageArray

pytestmark = pytest.mark.usefixtures("scene_weights")
FRESH = 1 << 50  # seeds that no training and no block of the environment uses
COUNT = 70  # more than two batches of pictures, and more than one of texts
SOME = settings(deadline=None, max_examples=15)
VALUE_WORDS = [word for _, word in VALUES]


@pytest.fixture(scope="module")
def pictures() -> ImageArray:
    return captioned(FRESH, COUNT).images


@pytest.fixture(scope="module")
def rows(scene_weights: None, pictures: ImageArray) -> FloatArray:
    return ClipImages().embed(pictures)


# --- tokenizer -----------------------------------------------------------------------------------


def words_read(text: str) -> list[str]:
    """The tokens of one text between start and end, as words."""
    row = tokenize([text])[0].tolist()
    names = [TOKENS[token] for token in row]
    end = names.index("<end>")
    assert names[0] == "<start>"
    assert set(names[end + 1 :]) <= {"<pad>"}
    return names[1:end]


def test_synonyms_and_plurals_have_the_token_of_their_word() -> None:
    assert words_read("Two violet DISCS, stripy & gray") == ["<unknown>", "purple", "circle", "striped", "grey"]
    assert words_read("a scarlet box on beach") == ["a", "red", "square", "on", "sand"]


@given(st.lists(st.sampled_from([*VALUE_WORDS, "donut", "polka", "lawn", "hexagons"]), max_size=8).map(" ".join))
@SOME
def test_the_tokens_say_what_the_parser_reads(text: str) -> None:
    assert parse(text).values == parse(" ".join(words_read(text))).values


def test_every_value_and_connective_has_a_token_of_its_own() -> None:
    words = [*VALUE_WORDS, "a", "on", "or", "but", "not", "wug"]
    assert len({tuple(words_read(word)) for word in words}) == len(words)
    assert len(set(TOKENS)) == len(TOKENS)


@given(st.text(max_size=200))
@SOME
def test_any_text_has_one_end_and_it_is_the_highest_token(text: str) -> None:
    row = tokenize([text])[0]
    assert row.shape == (CONTEXT,)
    assert (row == len(TOKENS) - 1).sum() == 1
    assert row.max() == len(TOKENS) - 1


def test_no_caption_or_concept_loses_a_word() -> None:
    texts = [*lexicon.vocabulary()[::50], *chain(*captioned(FRESH, 300).captions)]
    assert all(len(words_read(text)) == len(text.split()) for text in texts)


# --- rows ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, COUNT - 1), max_size=COUNT))
@SOME
def test_a_picture_has_one_row_in_any_company(pictures: ImageArray, rows: FloatArray, order: list[int]) -> None:
    np.testing.assert_array_equal(ClipImages().embed(pictures[order]), rows[order])


@given(st.lists(st.sampled_from(lexicon.vocabulary()), max_size=80))
@SOME
def test_a_text_has_one_row_in_any_company(texts: list[str]) -> None:
    together = ClipTexts().embed_texts(texts)
    assert together.shape == (len(texts), ClipTexts.dim)
    embedder = ClipTexts()
    for text, row in zip(texts[:5], together, strict=False):
        np.testing.assert_array_equal(ClipTexts().embed_texts([text])[0], row)
        np.testing.assert_array_equal(embedder.embed_texts([text, "wug", text])[[0, 2]], [row, row])


def test_rows_are_unit_vectors(rows: FloatArray) -> None:
    texts = ClipTexts().embed_texts(["red star", "", "wug", "a wug red wug", "x" * 500, "and " * 100, "\0"])
    for embedded in (rows, texts):
        assert embedded.dtype == np.float32
        assert embedded.shape[1] == ClipImages.dim
        np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)


def test_rows_agree_with_open_clip_on_its_own(pictures: ImageArray, rows: FloatArray) -> None:
    model = clip.build().eval()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(clip.WEIGHTS).items()})
    pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    with torch.inference_mode():
        images = model.encode_image(pixels, normalize=True).numpy()
        texts = model.encode_text(torch.from_numpy(tokenize(["red star", "thing on sand"])), normalize=True).numpy()
    np.testing.assert_allclose(rows, images, atol=1e-5)
    np.testing.assert_allclose(ClipTexts().embed_texts(["red star", "thing on sand"]), texts, atol=1e-5)


def test_loading_does_not_advance_the_random_numbers_of_a_training(tmp_path: Path) -> None:
    save_file(load_file(clip.WEIGHTS), tmp_path / "same.safetensors")
    before = torch.random.get_rng_state()
    ClipTexts(tmp_path / "same.safetensors").embed_texts(["red star"])
    assert torch.equal(before, torch.random.get_rng_state())


# --- weights -------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_weights_and_not_of_their_place(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(clip.WEIGHTS.read_bytes())
    weights = load_file(clip.WEIGHTS)
    weights["logit_scale"] += 1
    save_file(weights, tmp_path / "other")
    assert clip.fingerprint(tmp_path / "copy") == ClipImages().fingerprint == ClipTexts().fingerprint
    assert clip.fingerprint(tmp_path / "other") != clip.fingerprint()


def test_the_fingerprint_is_of_the_tokenizer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = clip.fingerprint()
    monkeypatch.setattr(clip, "TOKENS", (*TOKENS[:-2], TOKENS[-1], TOKENS[-2]))
    assert clip.fingerprint() != before


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    words = r"^open_clip is not installed; install it with pip install 'dnr-env\[scenes\]'$"
    with pytest.raises(DnRError, match=words):
        clip.build()


# --- quality -------------------------------------------------------------------------------------


def test_recall_counts_the_texts_whose_picture_is_near() -> None:
    images = np.eye(4, dtype=np.float32)
    texts = images[[0, 1, 3, 2]]
    assert recall(images, texts, k=1) == 0.5
    assert recall(images, texts, k=4) == 1
    assert recall(images, images[::-1], k=1) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20))
@SOME
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    with_word, without = ([score for score, true in pairs if true == wanted] for wanted in (True, False))
    assume(with_word and without)
    order = [(a > b) + (a == b) / 2 for a in with_word for b in without]
    scores, true = np.array([score for score, _ in pairs], np.float32), np.array([true for _, true in pairs])
    assert auc(scores, true) == pytest.approx(np.mean(order))


def test_prompts_name_one_word_each() -> None:
    for family, kind in enumerate(FAMILIES):
        for word, text in zip(kind.words, prompts(family), strict=True):
            values = [value for value in parse(text).values if value >= 0]
            assert [VALUES[value] for value in values] == [(family, word)]


def test_what_is_shown_is_what_an_object_has() -> None:
    scenes = SceneRenderer().resolve(["tiny red wavy ring on brick"] * 20, range(FRESH, FRESH + 20))
    for family, word in enumerate(("tiny", "red", "wavy", "ring", "brick")):
        table = shown(scenes, family)
        assert table[:, FAMILIES[family].words.index(word)].all()
        assert (table.sum(axis=1) <= (1 if family == BACKGROUND else count_objects(scenes))).all()


def test_the_table_of_quality_has_every_family() -> None:
    test = captioned(FRESH, 1000)
    lines = quality(ClipImages(), ClipTexts(), test.images, test.captions[0], test.scenes).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [family.name for family in FAMILIES]
    shares = [[float(number) for number in re.findall(r"\d\.\d+", line)] for line in lines[2:]]
    assert all(len(row) == 7 and max(row) <= 1 for row in shares)
    assert all(row[1] <= row[3] <= row[5] for row in shares[:-1])  # more objects show more words


# --- training ------------------------------------------------------------------------------------


def test_pictures_and_captions_are_a_function_of_the_seeds() -> None:
    one, again, other = captioned(FRESH, 8), captioned(FRESH, 8), captioned(FRESH + 8, 8)
    np.testing.assert_array_equal(one.images, again.images)
    assert one.captions == again.captions != other.captions
    assert one.captions[0] != one.captions[1]


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, 0.5) for step in range(101)]
    assert np.argmax(rates) == 10
    assert rates[10] == 0.5
    assert rates[0] == rates[100] == 0
    assert (np.diff(rates[10:]) < 0).all()


def test_a_training_is_a_function_of_its_seed_and_learns(tmp_path: Path) -> None:
    model, again = (train(seed=3, steps=12, checkpoint=tmp_path / "c", batch=16) for _ in range(2))
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    untrained = train(seed=3, steps=0, checkpoint=tmp_path / "c")
    test = captioned(FRESH, 64)
    with torch.inference_mode():
        before, after = (
            float(contrastive_loss(network, network.encode_image(to_input(test.images)), test.captions))
            for network in (untrained, model)
        )
    assert after < before


def test_a_head_is_asked_for_every_word_of_any_caption() -> None:
    head, embeddings = WordHead(), torch.randn(2, clip.DIM)
    captions = [["a red star", "a ring"], ["a thing on grass", "a ring"]]
    with torch.inference_mode():
        sure = head.linear(embeddings).sigmoid()
        loss = float(head.loss(embeddings, captions))
    expected = 0.0
    for row, texts in enumerate(zip(*captions, strict=True)):
        said = {token for text in texts for token in tokenize([text])[0].tolist()}
        for token in range(len(TOKENS)):
            expected -= float((sure[row, token] if token in said else 1 - sure[row, token]).log())
    assert loss == pytest.approx(expected / 2, rel=1e-4)
