"""Attention crops, corruptions, and rows as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dnr_env.evidence.corruptions import CORRUPTIONS
from dnr_env.evidence.rows import pack, unpack
from dnr_env.propose.crops import Box, Heat, boxes, located, otsu, select
from dnr_env.types import FloatArray

SIDE = 112


def blob(row: float, column: float, peak: float = 1.0, width: float = 1.2, grid: int = 14) -> FloatArray:
    """A Gaussian on a grid; the centre is in cells."""
    place = np.arange(grid)
    distance = np.square(place[:, None] - row) + np.square(place[None] - column)
    heat: FloatArray = peak * np.exp(-distance / (2 * width**2))
    return heat.astype(np.float32)


def between(values: FloatArray, threshold: float) -> float:
    """Variance between the values above a threshold and the rest."""
    above = values > threshold
    if not above.any() or above.all():
        return 0.0
    return float(above.mean() * (1 - above.mean()) * (values[above].mean() - values[~above].mean()) ** 2)


VALUES = hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(-8, 8).map(float))


@given(VALUES)
def test_otsu_is_the_best_of_all_thresholds(values: FloatArray) -> None:
    threshold = otsu(values)
    assert threshold in values
    assert between(values, threshold) == pytest.approx(max(between(values, t) for t in values), abs=1e-12)


def test_otsu_parts_two_groups_whatever_the_scale() -> None:
    values = np.concatenate([np.linspace(0, 1, 50), np.linspace(5, 6, 9)])
    for scale in (1e-30, 1.0, 255.0, 1e30):
        assert otsu(scale * values) == scale * 1.0
    assert otsu(np.full((3, 3), 7.0)) == 7.0


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 11), st.floats(2, 11), st.floats(0.01, 1e6))
def test_a_bright_spot_is_in_its_box(row: float, column: float, peak: float) -> None:
    (box,) = boxes(blob(row, column, peak), (SIDE, SIDE))
    scale = SIDE / 14
    y, x = (row + 0.5) * scale, (column + 0.5) * scale
    assert (box.top + box.bottom) / 2 == pytest.approx(y, abs=1.5)
    assert (box.left + box.right) / 2 == pytest.approx(x, abs=1.5)
    assert box.area > 20**2  # the blob's full width at half maximum is 22.6 pixels
    assert box.area < SIDE * SIDE / 4


@pytest.mark.parametrize("peak", [1 / 8, 8.0, 1000.0])
def test_a_peak_over_one_is_still_the_peak(peak: float) -> None:
    heat = blob(4, 9) + 0.6 * blob(10, 3)
    assert boxes(peak * heat, (SIDE, 90)) == boxes(heat, (SIDE, 90))
    assert boxes(heat - 3, (SIDE, 90)) == boxes(heat, (SIDE, 90))
    assert len(boxes(heat, (SIDE, 90))) == 2


def test_published_conversion_would_move_it() -> None:
    heat = blob(7, 7, peak=8.0)
    wrapped = (heat * 255).astype(np.int64).astype(np.uint8)
    assert divmod(int(wrapped.argmax()), wrapped.shape[1]) != (7, 7)


def test_two_spots_that_touch_at_a_corner_are_one_region() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[:20, :20] = heat[20:40, 20:40] = 1.0
    assert boxes(heat, (64, 64)) == [Box(0, 0, 40, 40)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_maps_without_a_spot_have_no_boxes(bad: float) -> None:
    assert boxes(np.zeros((7, 7), np.float32), (64, 64)) == []
    assert boxes(np.full((7, 7), 3.3, np.float32), (64, 64)) == []
    assert boxes(np.zeros((0, 7), np.float32), (64, 64)) == []
    assert boxes(np.ones((1, 1), np.float16), (64, 64)) == []
    heat = blob(3, 3)
    heat[5, 5] = bad
    assert boxes(heat, (64, 64)) == []


def test_the_largest_numbers_there_are() -> None:
    top = np.finfo(np.float64).max
    heat = np.where(blob(4, 9) > 0.5, top, -top)
    assert len(boxes(heat, (SIDE, SIDE))) == 1


def test_specks_are_passed_over() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[10, 10] = 1.0
    assert boxes(heat, (64, 64)) == []
    assert boxes(heat, (7, 7)) == []
    heat[30:45, 30:45] = 1.0
    assert boxes(heat, (64, 64)) == [Box(30, 30, 45, 45)]
    assert select([Box(0, 0, 20, 500)], (1024, 1024)) == []  # under 1/32 of the height


SPAN = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted).filter(lambda pair: pair[0] < pair[1])
BOXES = st.lists(st.builds(lambda y, x: Box(y[0], x[0], y[1], x[1]), SPAN, SPAN), max_size=12)


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(y, x) for y in range(box.top, box.bottom) for x in range(box.left, box.right)}


@settings(max_examples=40, deadline=None)
@given(st.tuples(SPAN, SPAN, SPAN, SPAN))
def test_overlap_counts_pixels(spans: tuple[list[int], ...]) -> None:
    a, b = (Box(y[0], x[0], y[1], x[1]) for y, x in (spans[:2], spans[2:]))
    one, other = pixels(a), pixels(b)
    assert a.overlap(b) == b.overlap(a) == pytest.approx(len(one & other) / len(one | other))


@given(BOXES)
def test_boxes_are_kept_by_the_rules(found: list[Box]) -> None:
    kept = select(found, (100, 100))
    frame = Box(0, 0, 100, 100)
    assert len(kept) <= 4
    assert [box.area for box in kept] == sorted((box.area for box in kept), reverse=True)
    assert all(box.overlap(frame) < 0.8 for box in kept)
    assert all(a.overlap(b) <= 0.5 for i, a in enumerate(kept) for b in kept[:i])
    for box in set(found) - set(kept):
        small = min(box.bottom - box.top, box.right - box.left) < 8
        rival = any(box.overlap(other) > 0.5 and other.area >= box.area for other in kept)
        crowded = len(kept) == 4 and box.area <= kept[-1].area
        assert small or box.overlap(frame) >= 0.8 or rival or crowded


@pytest.mark.parametrize(("view", "size"), [(Box(0, 10, 64, 74), (64, 90)), (Box(-20, 0, 84, 104), (64, 104))])
def test_boxes_of_a_part_lie_where_the_part_lies(view: Box, size: tuple[int, int]) -> None:
    heat = blob(7, 9, peak=3.0)
    sides = (view.bottom - view.top, view.right - view.left)
    (inside,) = boxes(heat, sides)
    (found,) = located(Heat(heat, view), size)
    assert found.left == inside.left + view.left
    assert found.top == max(inside.top + view.top, 0)
    assert 0 <= found.top < found.bottom <= size[0]
    assert 0 <= found.left < found.right <= size[1]


def test_a_spot_in_the_border_is_no_part_of_the_image() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[:12] = 1.0
    assert located(Heat(heat, Box(-20, 0, 44, 64)), (24, 64)) == []


@pytest.mark.parametrize("name", list(CORRUPTIONS))
@pytest.mark.parametrize("size", [(1, 1), (2, 90), (50, 37)])
def test_corruptions_are_functions_of_the_image(name: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    worse = CORRUPTIONS[name](image)
    assert worse.shape == image.shape
    assert worse.dtype == np.uint8
    np.testing.assert_array_equal(worse, CORRUPTIONS[name](image))
    np.testing.assert_array_equal(image, before)
    if min(size) > 10:
        assert np.abs(worse.astype(int) - image).mean() > 2
    # A view of another layout is the same image.
    np.testing.assert_array_equal(worse, CORRUPTIONS[name](np.asfortranarray(image)))


def test_noise_differs_between_images() -> None:
    grey = np.full((30, 30, 3), 128, np.uint8)
    other = grey.copy()
    other[0, 0, 0] = 129
    first, second = (CORRUPTIONS["noise"](image).astype(int) for image in (grey, other))
    assert np.abs(first - second).mean() > 10
    assert np.std(first - grey) == pytest.approx(0.15 * 255, rel=0.1)


ROWS = hnp.arrays(
    np.float32,
    st.integers(0, 60),
    elements=st.one_of(st.just(0.0), st.floats(width=32), st.sampled_from([-0.0, float("nan"), float("inf"), 1e-45])),
    fill=st.just(np.float32(0)),
)


@given(ROWS)
def test_rows_come_back_bit_for_bit(row: FloatArray) -> None:
    data = pack(row)
    back = unpack(data, len(row))
    assert back is not None
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.view(np.uint32), row.view(np.uint32))
    assert len(data) <= 1 + row.nbytes
    back[:] = 1  # a row of its own


def test_mostly_zero_rows_are_short() -> None:
    row = np.zeros(65536, np.float32)
    row[[3, 70, 65535]] = [np.nan, -0.0, 5]
    assert len(pack(row)) == 1 + 4 + 3 * 8


def test_what_is_no_row_is_refused() -> None:
    row = np.zeros(10, np.float32)
    row[9] = 1
    assert len(pack(row)) < 41
    for data, length in (
        (pack(row), 9),
        (pack(row), 11),
        (b"", 10),
        (b"x" + pack(row)[1:], 10),
        (pack(row)[:-1], 10),
        (b"d123", 1),
    ):
        assert unpack(data, length) is None
    for bad in (row.astype(np.float64), row[None]):
        with pytest.raises(ValueError, match=r"^`row` must be one row of float32 \(got "):
            pack(bad)
