import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from headstart.data.decoding import decode_all
from headstart.data.image_files import Picture
from headstart.data.image_leaks import find_image_leaks, ones_in, step_hashes
from headstart.data.images import load_images
from pictures import encoded, photo
from real_data import data_dir


@dataclass
class Held:
    pixels: np.ndarray
    digests: np.ndarray


def held(files: list[bytes], *, side=32) -> Held:
    found = list(decode_all([Picture("x", 1, data=data) for data in files], side=side))
    digests = np.stack([np.frombuffer(item.digest, np.uint8) for item in found])
    return Held(np.stack([item.pixels for item in found]), digests)


def photos(*numbers):
    return held([encoded(photo(n)) for n in numbers])


def test_the_same_file_is_found_and_others_are_not():
    report = find_image_leaks(photos(0, 1, 2, 3), test=photos(2, 9), train=photos(9, 5))
    assert report.corpus == {"exact": 1}
    assert report.drop == {2}
    assert report.train == {"exact": 1}
    assert report.train_drop == {0}
    assert report.test_rows == {0, 1}
    assert str(report) == (
        "1 corpus images in the test set (1 exact); 1 training images in the test set (1 exact)"
    )
    clean = find_image_leaks(photos(0, 1), test=photos(2, 3))
    assert str(clean) == "no test image is in the corpus or among the training images"


def test_encoded_anew_resized_and_mirrored_images_are_found():
    image = photo(4, width=128, height=96)
    files = [
        encoded(image, "JPEG", quality=40),
        encoded(image.resize((64, 48))),
        encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=60),
        encoded(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
        encoded(photo(5)),
    ]
    report = find_image_leaks(held(files), test=held([encoded(image)]))
    assert report.corpus == {"near": 2, "mirrored": 1}
    assert report.drop == {0, 1, 2}
    assert [leak.kind for leak in report.examples] == ["near", "near", "mirrored"]


def test_even_images_are_only_compared_by_their_bytes():
    flat = [encoded(Image.new("RGB", (20, 20), (n, n, n))) for n in (250, 251, 252)]
    report = find_image_leaks(held(flat[:2]), test=held([flat[1], flat[2]]))
    assert report.corpus == {"exact": 1}


def test_a_repeated_test_image_is_counted_once_for_each_repetition():
    assert find_image_leaks(test=photos(1, 2, 1, 1)).repeated_in_test == 2


def test_bits_are_counted():
    words = np.array([0, 1, 2**64 - 1, 0xF0F0], dtype=np.uint64)
    assert ones_in(words).tolist() == [0, 1, 64, 8]


def test_a_mirror_image_has_the_mirrored_hash():
    pixels = photos(0, 1, 2).pixels
    ours, theirs = step_hashes(pixels), step_hashes(pixels[..., ::-1])
    assert ones_in(ours[:, 1] ^ theirs[:, 0]).max() <= 2
    assert ones_in(ours[:, 0] ^ theirs[:, 0]).min() > 8


CHANGES = {
    "JPEG quality 50": lambda im: encoded(im, "JPEG", quality=50),
    "half the size": lambda im: encoded(im.resize((im.width // 2, im.height // 2))),
    "mirrored": lambda im: encoded(im.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG"),
    "twice the size": lambda im: encoded(im.resize((2 * im.width, 2 * im.height)), "WEBP"),
}


@pytest.mark.parametrize(
    ("name", "part", "side"),
    [
        ("tiny_imagenet", "validation", 64),
        ("fashion_products", "test", 64),
        ("cifar10", "test", 32),
    ],
)
def test_of_planted_copies_of_real_images_nearly_all_are_found_and_nothing_else(name, part, side):
    """Recall and precision over 400 planted and 200 other images; the bounds are a promise."""
    originals = load_images(data_dir(name) / f"{part}.parquet", side=side)
    chosen = np.unique(originals.digests, axis=0, return_index=True)[1]
    chosen = np.sort(chosen)[:1000]
    pixels = originals.pixels[chosen]
    changes = list(CHANGES.values())
    planted = [
        changes[n % 4](Image.fromarray(np.ascontiguousarray(pixels[n].transpose(1, 2, 0))))
        for n in range(400)
    ]
    copies = held(planted, side=side)
    others = Held(pixels[800:], originals.digests[chosen[800:]])
    corpus = Held(
        np.concatenate([copies.pixels, others.pixels]),
        np.concatenate([copies.digests, others.digests]),
    )
    test = Held(pixels[:400], originals.digests[chosen[:400]])
    report = find_image_leaks(corpus, test=test)
    right = sum(number < 400 for number in report.drop)
    assert right >= 0.95 * 400
    assert len(report.drop) - right <= 0.01 * len(report.drop)


def test_digests_are_of_the_encoded_bytes():
    data = encoded(photo(0))
    assert held([data]).digests[0].tobytes() == hashlib.blake2b(data, digest_size=16).digest()
