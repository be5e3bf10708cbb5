import numpy as np
import pytest

from headstart.data.augment import Augmentation
from headstart.data.image_batches import ImageRows, Views
from headstart.data.loader import Chosen, TokenBatches

PIXELS = np.random.default_rng(0).integers(0, 256, (23, 3, 12, 12), dtype=np.uint8)
LABELS = np.arange(23)
CROPS = Augmentation()


def views(how=CROPS, *, size=5, numbers=None, side=8, seed=1):
    rows = ImageRows(PIXELS, tokens=5, fields={"labels": LABELS})
    source = rows if numbers is None else Chosen(rows, numbers)
    batches = TokenBatches(source, tokens_per_batch=5 * size, seed=seed)
    return Views(batches, side=side, seed=seed, how=how)


def epoch(source, number):
    each = source.batches_per_epoch
    return [source.batch(n) for n in range(number * each, (number + 1) * each)]


def seen(parts):
    pairs = [zip(part.index, part.fields["pixels"], strict=True) for part in parts]
    return {int(number): pixels for pair in pairs for number, pixels in pair}


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    source = views()
    orders = [np.concatenate([b.index for b in epoch(source, e)]).tolist() for e in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
    assert orders[0] != orders[1]
    part = source.batch(3)
    assert part.fields["labels"].tolist() == part.index.tolist()
    assert part.lengths.tolist() == [5] * len(part)
    assert part.fields["pixels"].shape == (len(part), 3, 8, 8)


def test_a_batch_is_a_pure_function_of_its_number():
    source, again = views(), views()
    for n in (7, 2, 7):
        assert np.array_equal(source.batch(n).fields["pixels"], again.batch(n).fields["pixels"])


@pytest.mark.parametrize("number", [0, 3])
def test_the_view_of_an_image_depends_on_the_epoch_but_on_no_batch(number):
    small, large = seen(epoch(views(size=2), number)), seen(epoch(views(size=9), number))
    some = seen(epoch(views(numbers=np.array([3, 20, 11])), number))
    for image in range(23):
        assert np.array_equal(small[image], large[image])
    for image in (3, 20, 11):
        assert np.array_equal(some[image], large[image])
    later = seen(epoch(views(), number + 1))
    assert sum(np.array_equal(later[image], small[image]) for image in range(23)) < 3


def test_without_augmentation_images_are_as_they_are():
    found = seen(epoch(views(None, side=12), 1))
    assert all(np.array_equal(found[n], PIXELS[n]) for n in range(23))
