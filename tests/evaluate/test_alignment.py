"""Captions that slipped by some rows are noticed, and only these."""

import numpy as np
import pytest

from headstart.data.images import Images
from headstart.evaluate.alignment import shifted_by, slipped_captions
from headstart.evaluate.colour_baseline import colour_histograms

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 210), "grey": (128,) * 3}


def pairs(count: int, *, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Plain images with some noise, and captions that name their colour among other words."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(COLOURS), count)
    things = rng.choice(["ball", "car", "hat", "cup"], count)
    colours = np.array([COLOURS[name] for name in names])[:, :, None, None]
    noise = rng.integers(-20, 21, (count, 3, 8, 8))
    pixels = np.clip(colours + noise, 0, 255).astype(np.uint8)
    return pixels, [f"a {name} {thing}" for name, thing in zip(names, things, strict=True)]


@pytest.mark.parametrize("by", [-2, -1, 1, 2])
def test_captions_that_slipped_are_noticed(by: int):
    pixels, captions = pairs(400)
    assert shifted_by(pixels, captions[-by:] + captions[:-by]) == by


def test_true_pairs_and_captions_that_say_nothing_are_not():
    pixels, captions = pairs(400)
    assert shifted_by(pixels, captions) == 0
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(captions).tolist()
        assert shifted_by(pixels, mixed) == 0
    assert shifted_by(pixels, ["a thing"] * 400) == 0


def test_nobody_can_tell_from_few_pairs():
    pixels, captions = pairs(199)
    assert shifted_by(pixels, captions[1:] + captions[:1]) == 0


def test_rows_in_the_order_of_their_classes_are_not_mistaken():
    pixels, captions = pairs(400)
    order = np.argsort(colour_histograms(pixels).argmax(1), kind="stable")
    assert shifted_by(pixels[order], [captions[n] for n in order]) == 0


def test_the_warning_says_where_captions_seem_to_stand():
    pixels, captions = pairs(400)
    slipped = captions[-1:] + captions[:-1]
    images = Images(
        pixels,
        np.zeros((400, 16), np.uint8),
        ("x",) * 400,
        ("",) * 400,
        tuple((caption,) for caption in slipped),
    )
    (told,) = slipped_captions(images, "pairs.csv")
    assert str(told) == (
        "W-DATA-063 pairs.csv: the caption of each image seems to stand 1 row below it. Look at "
        "some rows; if they are wrong, move the column of captions."
    )
    assert not list(slipped_captions(images.take(np.arange(0)), "pairs.csv"))
