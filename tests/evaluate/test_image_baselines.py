"""HOG against a case worked out by hand, pixels, and neighbours against a slow loop."""

import numpy as np
import pytest

from headstart.evaluate.image_baselines import centred, hog, hog_features, pixel_features
from headstart.evaluate.neighbours import by_neighbours, nearest


def ramp(side=4, *, across=True):
    """One channel that rises by 1 a pixel."""
    row = np.arange(side, dtype=np.float64)
    image = np.tile(row, (side, 1))
    return (image if across else image.T)[None, None]


def test_hog_of_a_ramp_is_what_its_definition_gives_by_hand():
    # Differences over two pixels: 2 inside, 0 in the first and last column. Cells of 2 x 2 pixels
    # each hold one such column: a mean of (0 + 2 + 0 + 2) / 4 = 1, all at 0 degrees, bin 0.
    # A block of 4 cells: 4 ones of 36 numbers. L2: 1 / 2 each; clipped at 0.2; L2 again: 1 / 2.
    found = hog(ramp(), cell=2).reshape(4, 9)
    expected = np.zeros((4, 9))
    expected[:, 0] = 0.5
    np.testing.assert_allclose(found, expected, atol=1e-8)
    # rising downwards is 90 degrees, bin 90 // 20 = 4
    turned = hog(ramp(across=False), cell=2).reshape(4, 9)
    assert np.flatnonzero(turned.sum(0)).tolist() == [4]


def test_the_clip_of_hog_acts_before_the_second_norm():
    # The left cells of 2 x 2 pixels are flat but for their border with the right ones.
    image = np.zeros((1, 1, 4, 4))
    image[..., 3] = 10.0
    # differences across: column 2 has 10 (from 0 to 10), others 0 (borders are 0). The right cells:
    # mean (10 + 0 + 10 + 0) / 4 = 5, the left 0. Block: two cells of 5: 1/sqrt(2) each, clipped to
    # 0.2, then 1/sqrt(2) again.
    found = hog(image, cell=2).reshape(2, 2, 9)
    np.testing.assert_allclose(found[:, 1, 0], np.sqrt(0.5), atol=1e-8)
    assert np.count_nonzero(found) == 2
    # one strong and one weak cell: 0.2 and the weak one's share, which the clip has made larger
    image[0, 0, 2:, 3] = 1.0
    found = hog(image, cell=2).reshape(2, 2, 9)
    # upper right cell: row 0 across 10, down 0; row 1 across 10; its second column has down
    # differences at row 1: 1 - 10 = -9, across 0 at the border column
    up = np.zeros(9)
    up[0] = 2 * 10 / 4
    up[4] = 9 / 4
    low = np.zeros(9)
    low[0] = 2 * 1 / 4
    low[4] = 9 / 4  # row 2: 1 - 10 over rows 1 and 3
    flat = np.concatenate([up, low])
    unit = np.minimum(flat / np.sqrt((flat**2).sum() + 1e-10), 0.2)
    expected = unit / np.sqrt((unit**2).sum() + 1e-10)
    np.testing.assert_allclose(found[:, 1].ravel(), expected, atol=1e-8)


def test_the_channel_with_the_largest_gradient_counts():
    quiet, loud = ramp(across=False)[0], 5 * ramp()[0]
    both = np.concatenate([quiet, loud])[None].copy()
    alone = hog(loud[None], cell=2)
    # where the loud channel's gradient is 0, at its left and right border, the quiet one counts
    found = hog(both, cell=2).reshape(4, 9)
    assert np.flatnonzero(found.sum(0)).tolist() == [0, 4]
    assert (found[:, 0] > found[:, 4]).all()
    assert np.flatnonzero(alone.reshape(4, 9).sum(0)).tolist() == [0]


def test_images_of_any_size_have_at_most_eight_cells_a_side():
    rng = np.random.default_rng(0)
    for side, cells in ((16, 8), (20, 6), (32, 8), (64, 8), (224, 8)):
        pixels = rng.integers(0, 256, (3, 3, side, side), dtype=np.uint8)
        assert hog_features(pixels).shape == (3, (cells - 1) ** 2 * 4 * 9)
        assert pixel_features(pixels).shape == (3, 3 * 16 * 16)
    small = rng.integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(pixel_features(small), small.reshape(2, -1) / 255)


def test_features_are_counted_from_the_training_rows_alone():
    rng = np.random.default_rng(1)
    train, test = rng.normal(3, 2, (50, 4)), rng.normal(0, 9, (5, 4))
    ours, theirs = centred(train, test)
    np.testing.assert_allclose(ours.mean(0), 0, atol=1e-12)
    assert (ours**2).sum(1).mean() == pytest.approx(1)
    again, _ = centred(train, test[:1])
    np.testing.assert_array_equal(ours, again)
    scale = np.sqrt(((train - train.mean(0)) ** 2).sum(1).mean())
    np.testing.assert_allclose(theirs, (test - train.mean(0)) / scale, rtol=1e-12)


def test_the_nearest_rows_are_those_of_a_slow_loop():
    rng = np.random.default_rng(2)
    rows, others = rng.normal(size=(40, 3)), rng.normal(size=(700, 3))
    found = nearest(rows, others, count=7)
    for place in (0, 511, 512, 699):
        apart = ((rows - others[place]) ** 2).sum(1)
        assert found[place].tolist() == np.argsort(apart)[:7].tolist()


def test_neighbours_answer_all_kinds_of_labels_and_choose_how_many():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 2))
    others = rng.normal(size=(200, 2))
    truth = (others[:, 0] > 0).astype(int)
    clean = (rows[:, 0] > 0).astype(int)
    noisy = np.where(rng.random(300) < 0.35, 1 - clean, clean)
    answers, count = by_neighbours(rows, noisy, others, kind="classes", seed=0)
    assert count > 5  # with so much noise, one neighbour is a coin with little weight
    one_only = noisy[nearest(rows, others, count=1)[:, 0]]
    assert (answers == truth).mean() > (one_only == truth).mean()
    several, _ = by_neighbours(
        rows, np.stack([clean, 1 - clean], 1), others, kind="multilabel", seed=0
    )
    assert (several[:, 0] == truth).mean() > 0.95
    numbers, _ = by_neighbours(rows, rows[:, 0], others, kind="number", seed=0)
    assert np.corrcoef(numbers, others[:, 0])[0, 1] > 0.98


def test_a_row_never_answers_for_itself_when_the_number_is_chosen():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(200, 2))
    labels = (rng.random(200) < 0.25).astype(int)  # nothing to learn: the more votes, the better
    _, count = by_neighbours(rows, labels, rows[:1], kind="classes", seed=0)
    assert count > 3  # itself as its own neighbour, one would have been best
