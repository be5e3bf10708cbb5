import numpy as np
import pytest

from headstart.data.patches import PixelScale, cut, join, lay_out_patches


def test_patches_hold_their_pixels_channel_by_channel():
    pixels = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = cut(pixels, 2)
    assert patches.shape == (2, 6, 12)
    # the fifth patch of the second image: second row of patches, second column
    expected = [pixels[1, c, y, x] for c in range(3) for y in (2, 3) for x in (2, 3)]
    assert patches[1, 4].tolist() == expected
    assert np.array_equal(join(patches, patch=2, columns=3), pixels)


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="5 x 4 pixels cannot be cut into patches of 2"):
        cut(np.zeros((1, 3, 5, 4)), 2)


def test_the_stream_has_a_slot_for_the_class_token_before_the_patches():
    patches = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) + 1
    stream, layout = lay_out_patches(patches)
    assert stream.shape == (8, 4)
    assert stream[layout.first].abs().sum() == 0
    assert stream.view(2, 4, 4)[:, 1:].tolist() == patches.tolist()
    assert layout.positions.tolist() == [0, 1, 2, 3] * 2
    assert layout.sequence.tolist() == [0] * 4 + [1] * 4
    assert layout.rows == ((2, 4),)
    assert layout.lengths.tolist() == [4, 4]


def test_patches_that_are_left_out_leave_no_gap_but_keep_positions():
    patches = np.arange(2 * 3 * 1, dtype=np.float32).reshape(2, 3, 1)
    stream, layout = lay_out_patches(patches, kept=np.array([[2, 0], [1, 2]]))
    assert stream.flatten().tolist() == [0, 2, 0, 0, 4, 5]
    assert layout.positions.tolist() == [0, 3, 1, 0, 2, 3]
    assert layout.rows == ((2, 3),)


def test_bytes_become_numbers_by_mean_and_deviation():
    pixels = np.zeros((1, 3, 1, 2), dtype=np.uint8)
    pixels[0, :, 0, 1] = 255
    found = PixelScale((0.5, 0.25, 0.0), (0.5, 0.25, 2.0)).apply(pixels)
    assert found.dtype == np.float32
    assert np.allclose(found[0, :, 0, 0], [-1, -1, 0], atol=1e-6)
    assert np.allclose(found[0, :, 0, 1], [1, 3, 0.5], atol=1e-6)
