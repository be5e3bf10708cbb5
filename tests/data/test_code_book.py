import numpy as np
import pytest

from headstart.data.code_book import CodeBook, even_contrast, learn_codes
from headstart.errors import InputError

EDGES = np.array([[0, 0, 8, 8], [0, 8, 0, 8], [8, 0, 0, 8]], dtype=np.float32)


def noisy(count=300, seed=0):
    """Three kinds of edges of any brightness and contrast, and which kind each patch is."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, count)
    contrast, light = rng.uniform(0.5, 3, (count, 1)), rng.uniform(-5, 5, (count, 1))
    patches = EDGES[kind] * contrast + light + rng.normal(0, 0.1, (count, 4))
    return patches.astype(np.float32), kind


def test_codes_are_the_kinds_of_patches_whatever_their_light_and_contrast():
    patches, kind = noisy()
    found = learn_codes(patches, 3, seed=0).tokens(noisy(seed=1)[0])
    other = noisy(seed=1)[1]
    pairs = set(zip(found.tolist(), other.tolist(), strict=True))
    assert len(pairs) == 3  # each code is one kind, each kind one code
    assert len(set(kind.tolist())) == 3


def test_the_token_of_a_patch_is_the_nearest_centre():
    centres = even_contrast(noisy(7, seed=2)[0])
    patches = noisy(5000, seed=3)[0]  # more than are compared at once
    found = CodeBook(centres).tokens(patches)
    for n in (0, 17, 4095, 4096, 4999):
        patch = patches[n].astype(float)
        even = (patch - patch.mean()) / np.sqrt(patch.var() + 1e-3)
        assert found[n] == ((centres - even) ** 2).sum(1).argmin()


def test_the_same_patches_and_seed_give_the_same_codes():
    patches = noisy()[0]
    one, two, other = (learn_codes(patches, 8, seed=seed).centres for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_an_even_patch_stays_even():
    assert even_contrast(np.full((1, 4), 3.0, dtype=np.float32)).tolist() == [[0.0] * 4]


def test_more_codes_than_different_patches_are_refused():
    with pytest.raises(InputError) as caught:
        learn_codes(np.repeat(EDGES, 40, 0), 16, seed=0)
    assert str(caught.value) == (
        "images.codes is 16, but only 3 different patches were found in the images: write "
        "images.codes: 2, or give more images"
    )
