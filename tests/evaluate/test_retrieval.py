import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from headstart.evaluate.colour_baseline import Canonical, ColourBaseline, colour_histograms
from headstart.evaluate.retrieval import Gold, chance, ranks, retrieval


def test_recall_by_hand_with_several_captions_and_shared_words():
    gold = Gold.of([["a", "b"], ["c"], ["c", "d"], ["e"]])
    assert gold.texts == ("a", "b", "c", "d", "e")
    assert list(zip(gold.image.tolist(), gold.text.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 2), (2, 2), (2, 3), (3, 4),
    ]  # fmt: skip
    scores = np.array(
        [
            [0.9, 0.1, 0.0, 0.2, 0.3],  # a first: rank 0
            [0.9, 0.8, 0.7, 0.1, 0.0],  # c third: rank 2
            [0.1, 0.2, 0.3, 0.9, 0.4],  # d first: rank 0
            [0.5, 0.5, 0.5, 0.5, 0.5],  # all equal: rank 4, nothing is found
        ]
    )
    found = ranks(scores, np.eye(5), gold.image, gold.text)
    assert found.tolist() == [0, 2, 0, 4]
    found = ranks(scores.T, np.eye(4), gold.text, gold.image)
    # a: 0.9 ties with image 1; b: 0.1 is last; c: 0.7 of image 1; d: 0.9; e: 0.5 of image 3
    assert found.tolist() == [1, 3, 0, 0, 0]
    result = retrieval(scores, np.eye(5), gold, at=(1, 3))
    assert [one.value for one in result.to_text] == [0.5, 0.75]
    assert [one.value for one in result.to_image] == [0.6, 0.8]


def test_chance_by_hand():
    # 1 of 4 in the first 2: 1/2; 2 of 4: 1 - (2/4)(1/3) = 5/6; 3 of 4: always
    assert np.allclose(chance(np.array([1, 2, 3]), 4, 2), [1 / 2, 5 / 6, 1])
    assert np.allclose(chance(np.array([1]), 3, 10), 1.0)


def test_chance_is_what_random_vectors_find():
    rng = np.random.default_rng(0)
    captions = [[f"{n} {m}" for m in range(1 + n % 3)] for n in range(60)]
    gold = Gold.of(captions)
    found = [
        retrieval(rng.normal(size=(60, 8)), rng.normal(size=(len(gold.texts), 8)), gold, at=(10,))
        for _ in range(30)
    ]
    for way in ("to_text", "to_image"):
        mean = np.mean([getattr(one, way)[0].value for one in found])
        assert abs(mean - getattr(found[0], way)[0].chance) < 0.02


def test_the_interval_holds_the_true_recall_as_often_as_it_says():
    rng = np.random.default_rng(1)
    within = 0
    for _ in range(40):
        right = rng.random(80) < 0.6  # each image is found with probability 0.6
        images = np.eye(80)
        texts = np.where(right[:, None], np.eye(80), np.roll(np.eye(80), 1, axis=0))
        result = retrieval(images, texts, Gold.of([[str(n)] for n in range(80)]), at=(1,))
        low, high = result.to_image[0].low, result.to_image[0].high
        within += low <= 0.6 <= high
    assert 33 <= within <= 40


def test_vectors_that_are_all_alike_find_nothing():
    gold = Gold.of([[str(n)] for n in range(20)])
    result = retrieval(np.ones((20, 3)), np.ones((20, 3)), gold)
    assert [one.value for one in (*result.to_text, *result.to_image)] == [0.0] * 6


def test_correlations_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(400, 2))
    one = np.concatenate([shared, rng.normal(size=(400, 3))], 1) @ rng.normal(size=(5, 5))
    other = np.concatenate([shared + 0.5 * rng.normal(size=(400, 2)), rng.normal(size=(400, 2))], 1)
    theirs = CCA(n_components=2, max_iter=2000, tol=1e-12).fit(one, other)
    a, b = theirs.transform(one, other)
    expected = [np.corrcoef(a[:, n], b[:, n])[0, 1] for n in range(2)]
    found = Canonical.of(one, other, ridge=0.0, width=2)
    c, d = (one - found.one_mean) @ found.one_map, (other - found.other_mean) @ found.other_map
    ours = [np.corrcoef(c[:, n], d[:, n])[0, 1] for n in range(2)]
    assert np.allclose(ours, expected, atol=1e-4)
    # each direction weighs as much as it correlates
    assert np.allclose(c.std(0), ours, atol=1e-6)


def test_a_histogram_by_hand():
    pixels = np.zeros((1, 3, 4, 4), dtype=np.uint8)
    pixels[0, 0, :2, :2] = 255  # red above on the left, black elsewhere
    found = colour_histograms(pixels)[0].reshape(5, 64)
    black, red = 0, 3 * 16
    assert np.allclose(found[0, [black, red]], np.sqrt([12 / 16, 4 / 16]))
    assert np.allclose(found[1, [black, red]], np.sqrt([0, 4 / 16]))
    assert np.allclose(found[2:, black], np.sqrt(4 / 16))
    assert np.allclose((found**2).sum(1), [1, 0.25, 0.25, 0.25, 0.25])


def coloured(count, *, shuffled=False, seed=0):
    """Plain images of four colours with captions that name them."""
    rng = np.random.default_rng(seed)
    names = ("red", "green", "blue", "\u767d\u8272")
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    kind = rng.integers(0, 4, count)
    noise = rng.integers(-100, 100, (count, 3, 8, 8))
    pixels = np.clip(colours[kind][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    told = rng.permutation(kind) if shuffled else kind
    return pixels, [[f"the {names[k]} thing {rng.integers(100)}"] for k in told]


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_colour_baseline_finds_colours_that_captions_name(shuffled):
    baseline = ColourBaseline(*coloured(300, shuffled=shuffled))
    pixels, captions = coloured(100, seed=1)
    gold = Gold.of(captions)
    found = retrieval(baseline.images(pixels), baseline.texts(gold.texts), gold, at=(10,))
    better = found.to_image[0].value / found.to_image[0].chance
    assert better < 1.6 if shuffled else better > 2.2  # a quarter of the images has each colour
