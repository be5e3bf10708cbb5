import numpy as np
import pytest
from PIL import Image

from headstart.data.augment import (
    Augmentation,
    augment,
    crop_boxes,
    keyed_uniform,
    resample,
    resize,
)
from pictures import photo

JITTER = Augmentation(brightness=0.4, contrast=0.4, saturation=0.4)


def batch(count=6, *, width=40, height=28):
    images = [np.asarray(photo(n, width=width, height=height)) for n in range(count)]
    return np.stack(images).transpose(0, 3, 1, 2)


def views(pixels, numbers, *, epoch=0, how=JITTER, side=24, seed=5):
    return augment(pixels, np.asarray(numbers), side=side, seed=seed, epoch=epoch, how=how)


@pytest.mark.parametrize("size", [(16, 16), (8, 9), (28, 40), (50, 60), (32, 5)])
def test_resizing_gives_what_pillow_gives_within_one_level(size):
    pixels = batch()
    found = resize(pixels, size).astype(int)
    for image, ours in zip(pixels, found, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        theirs = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
        assert np.abs(ours - theirs.transpose(2, 0, 1)).max() <= 1


def test_cropping_gives_what_pillow_gives_within_one_level():
    pixels, rng = batch(), np.random.default_rng(0)
    left, top = rng.uniform(0, 10, 6), rng.uniform(0, 8, 6)
    wide, high = rng.uniform(5, 30, 6), rng.uniform(5, 20, 6)
    mirrored = np.arange(6) % 2 == 0
    found = resample(pixels, left, top, wide, high, size=(24, 20), mirrored=mirrored).astype(int)
    for n, image in enumerate(pixels):
        box = (left[n], top[n], left[n] + wide[n], top[n] + high[n])
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        theirs = picture.resize((20, 24), Image.Resampling.BILINEAR, box=box)
        if mirrored[n]:
            theirs = theirs.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert np.abs(found[n] - np.asarray(theirs).transpose(2, 0, 1)).max() <= 1


def test_sums_are_whole_numbers_so_their_order_does_not_matter():
    pixels = batch(1, width=300, height=300)
    zero, one = np.zeros(1), np.ones(1)
    found = resample(pixels, zero, zero, one * 300, one * 300, size=(7, 7))
    turned = resample(pixels[:, :, ::-1, ::-1], zero, zero, one * 300, one * 300, size=(7, 7))
    assert np.array_equal(found, turned[:, :, ::-1, ::-1])


def test_a_sample_looks_the_same_in_whatever_batch_it_comes():
    pixels = batch()
    together = views(pixels, range(6))
    for n in range(6):
        assert np.array_equal(views(pixels[n : n + 1], [n])[0], together[n])
    order = [3, 0, 5, 1]
    assert np.array_equal(views(pixels[order], order), together[order])


def test_epochs_seeds_and_numbers_change_the_view():
    pixels = batch(1)
    first = views(pixels, [0])
    for other in (views(pixels, [1]), views(pixels, [0], epoch=1), views(pixels, [0], seed=6)):
        assert not np.array_equal(first, other)
    assert np.array_equal(first, views(pixels, [0]))


def test_views_are_the_same_on_every_machine():
    found = views(batch(2), [7, 8], epoch=3)
    assert int(found.sum(dtype=np.int64)) == 361885
    assert found[1, 2, 5, ::7].tolist() == [172, 187, 65, 200]


def test_uniform_numbers_are_uniform_and_do_not_repeat():
    drawn = keyed_uniform((1, 2), np.arange(20_000), 4)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert len(np.unique(drawn)) == drawn.size
    counts = np.histogram(drawn, 50, (0, 1))[0]
    # 50 cells of 1,600 on average: a standard deviation is 40
    assert np.abs(counts - 1600).max() < 200
    assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03


def test_crops_have_the_areas_and_ratios_asked_for_and_stay_inside():
    draws = keyed_uniform((0,), np.arange(5000), 4)
    how = Augmentation(scale=(0.2, 0.5))
    left, top, wide, high = crop_boxes(draws, width=64, height=64, how=how)
    area, ratio = wide * high / 64**2, wide / high
    assert 0.2 <= area.min() < 0.21 and 0.49 < area.max() <= 0.5  # noqa: PT018
    assert 0.75 <= ratio.min() < 0.76 and 1.32 < ratio.max() <= 4 / 3  # noqa: PT018
    assert left.min() >= 0 and (left + wide).max() <= 64  # noqa: PT018
    assert top.min() >= 0 and (top + high).max() <= 64  # noqa: PT018


def test_half_of_the_views_are_mirrored_and_none_where_not_wanted():
    half = np.zeros((400, 3, 8, 8), dtype=np.uint8)
    half[..., :4] = 255
    whole = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    left = views(half, range(400), how=whole, side=8)[:, 0, 0, 0] == 255
    assert 160 < left.sum() < 240
    never = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), mirror=False)
    assert np.array_equal(views(half, range(400), how=never, side=8), half)


def test_brightness_contrast_and_saturation_change_what_they_say():
    grey = np.full((50, 3, 6, 6), 100, dtype=np.uint8)
    same = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "side": 6}
    side = same.pop("side")
    bright = views(grey, range(50), how=Augmentation(brightness=0.5, **same), side=side)
    assert bright.min() < 60
    assert bright.max() > 140
    # contrast and saturation leave an even grey as it is
    for name in ("contrast", "saturation"):
        how = Augmentation(**{name: 0.9}, **same)
        assert np.abs(views(grey, range(50), how=how, side=side).astype(int) - 100).max() <= 1
    colour = grey.copy()
    colour[:, 0] = 200
    pale = views(colour, range(50), how=Augmentation(saturation=1.0, **same), side=side)
    spread = pale.max(1).astype(int) - pale.min(1)
    assert spread.min() < 20
    assert spread.max() > 120


def test_the_two_views_of_an_image_differ_and_are_both_pure_functions():
    pixels = batch(3)
    numbers = np.arange(3)

    def view(number):
        return augment(pixels, numbers, side=24, seed=5, epoch=0, how=JITTER, view=number)

    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(view(one), view(other))
    assert np.array_equal(view(2), view(2))


def test_some_views_lose_their_colours_and_some_keep_them_as_they_are():
    colour = np.full((400, 3, 6, 6), 100, dtype=np.uint8)
    colour[:, 0] = 180
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    grey = views(colour, range(400), how=Augmentation(grey=0.25, **whole), side=6)
    without = (np.ptp(grey.astype(int), axis=1) <= 1).all((1, 2))
    assert 70 < without.sum() < 130
    # 0.299 * 180 + 0.701 * 100
    assert set(grey[without].ravel().tolist()) == {124}
    rarely = Augmentation(brightness=0.5, hue=0.2, coloured=0.75, **whole)
    same = (views(colour, range(400), how=rarely, side=6) == colour).all((1, 2, 3))
    assert 70 < same.sum() < 130


def test_hue_turns_red_to_green_by_a_third_of_the_circle_and_keeps_grey():
    from headstart.data.augment import _turned

    red = np.array([170.0, -85.0, -85.0], dtype=np.float32).reshape(1, 3, 1, 1)
    assert _turned(red, np.array([1 / 3])).ravel() == pytest.approx([-85, 170, -85], abs=0.05)
    assert _turned(red, np.array([-1 / 3])).ravel() == pytest.approx([-85, -85, 170], abs=0.05)
    grey = np.full((1, 3, 1, 1), 40, dtype=np.float32)
    assert _turned(grey, np.array([0.21])).ravel() == pytest.approx([40, 40, 40], abs=0.01)
