"""Random views of images: crop, mirror, colour: a pure function of seed, epoch, sample and view.

In: pixels of a batch and the samples' numbers. Out: pixels of another size. The same sample looks
the same in whatever batch, order or process it is drawn.
The surprise: resampling is exact. Its weights are whole multiples of 2^-14, so all sums are whole
numbers below 2^24, which fp32 holds: every machine gives the same bytes. They are Pillow's bytes
within one level (bilinear filter, widened where an image shrinks).

Legend: S images, C channels, H height, W width, O output side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FINE = 1 << 14  # resampling weights are multiples of 1 / FINE
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DRAWS = 11  # numbers that one view of one image takes
_LUMA = tuple(np.float32(share) for share in (0.299, 0.587, 0.114))  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to an image.

    scale: share of the area that a crop keeps, least and most; ratio: its width to height.
    mirror: swap left and right in half of the cases.
    brightness, contrast, saturation: factors are drawn from 1 - x to 1 + x. hue: colours are turned
    by up to this share of the circle, either way. coloured: share of the views to which these four
    happen; grey: share of the views that lose their colours.
    Sources: Szegedy et al. 2015, section 6 (crops; He et al. 2022 use them with mirroring alone);
    Chen et al. 2020, appendix A (colours; their `strength` 0.5 for small images).
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: bool = True
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    coloured: float = 1.0
    grey: float = 0.0


def augment(
    pixels: np.ndarray,
    numbers: np.ndarray,
    *,
    side: int,
    seed: int,
    epoch: int,
    how: Augmentation,
    view: int = 0,
) -> np.ndarray:
    """One random view of each image.

    pixels: (S, 3, H, W) uint8; numbers: (S,) the samples' numbers, which with seed, epoch and view
    decide everything. view: 0, 1, ... where several of one image are needed.
    Returns (S, 3, side, side) uint8.
    """
    draws = keyed_uniform((seed, epoch, view) if view else (seed, epoch), numbers, _DRAWS)
    height, width = pixels.shape[2:]
    left, top, wide, high = crop_boxes(draws[:, :4], width=width, height=height, how=how)
    mirrored = (draws[:, 4] < 0.5) & how.mirror
    views = resample(pixels, left, top, wide, high, size=(side, side), mirrored=mirrored)
    return recolour(views, draws[:, 5:], how)


def keyed_uniform(key: Sequence[int], numbers: np.ndarray, count: int) -> np.ndarray:
    """(S, count) fp64 in [0, 1), each row a pure function of key and the sample's number.

    Source of the mixing: Steele et al. 2014 (SplitMix).
    """
    state = np.zeros(1, dtype=np.uint64)
    for part in key:
        state = _mix(state + _GOLDEN + np.asarray([part], dtype=np.uint64))
    own = _mix(state + _GOLDEN * (np.asarray(numbers).astype(np.uint64) + np.uint64(1)))
    steps = _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
    drawn: np.ndarray = (_mix(own[:, None] + steps) >> np.uint64(11)) * 2.0**-53
    return drawn


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def crop_boxes(
    draws: np.ndarray, *, width: int, height: int, how: Augmentation
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, top, width and height (S,) of the crops, in pixels and fractions of them.

    draws: (S, 4) uniform numbers. A side longer than the image is cut to it.
    """
    least, most = how.scale
    area = (least + (most - least) * draws[:, 0]) * width * height
    narrow, broad = np.log(how.ratio[0]), np.log(how.ratio[1])
    ratio = np.exp(narrow + (broad - narrow) * draws[:, 1])
    wide = np.minimum(np.sqrt(area * ratio), width)
    high = np.minimum(np.sqrt(area / ratio), height)
    return draws[:, 2] * (width - wide), draws[:, 3] * (height - high), wide, high


def resample(
    pixels: np.ndarray,
    left: np.ndarray,
    top: np.ndarray,
    wide: np.ndarray,
    high: np.ndarray,
    *,
    size: tuple[int, int],
    mirrored: np.ndarray | None = None,
) -> np.ndarray:
    """Each image's box (S,) brought to one size (height, width): (S, C, *size) uint8.

    pixels: (S, C, H, W) uint8. mirrored: (S,) which results have left and right swapped.
    """
    across = weights(left, wide, size=pixels.shape[3], side=size[1])
    down = weights(top, high, size=pixels.shape[2], side=size[0])
    if mirrored is not None:
        across = np.where(mirrored[:, None, None], across[:, ::-1], across)
    rows = _rounded(pixels.astype(np.float32) @ across[:, None].transpose(0, 1, 3, 2))  # S C H O
    return _rounded(down[:, None] @ rows).astype(np.uint8)


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All of each image brought to one size: (S, C, H, W) to (S, C, *size) uint8."""
    count, _, height, width = pixels.shape
    if (height, width) == size:
        return pixels
    none, ones = np.zeros(count), np.ones(count)
    return resample(pixels, none, none, ones * width, ones * height, size=size)


def weights(begin: np.ndarray, length: np.ndarray, *, size: int, side: int) -> np.ndarray:
    """(S, O, size) fp32 whole numbers: what each pixel counts in each output pixel, times FINE.

    begin, length: (S,) the stretch of the axis, in pixels.
    """
    scale = length / side
    reach = np.maximum(scale, 1.0)  # half width of the triangle
    centre = begin[:, None] + (np.arange(side) + 0.5) * scale[:, None]  # S O
    raw = np.arange(size) + 0.5 - centre[:, :, None]  # in place from here on: large arrays
    np.abs(raw, out=raw)
    raw /= reach[:, None, None]
    np.subtract(1.0, raw, out=raw)
    np.maximum(0.0, raw, out=raw)
    raw /= raw.sum(-1, keepdims=True)
    raw *= FINE
    return np.rint(raw, out=raw).astype(np.float32)


def _rounded(sums: np.ndarray) -> np.ndarray:
    """Whole fp32 sums of pixel times weight, to whole pixel values."""
    sums *= 1 / FINE
    sums += 0.5
    whole: np.ndarray = np.clip(np.floor(sums, out=sums), 0, 255, out=sums)
    return whole


def recolour(pixels: np.ndarray, draws: np.ndarray, how: Augmentation) -> np.ndarray:
    """Brightness, contrast, saturation, hue, and whether these happen and colours go: (S, 6 draws)
    of (S, 3, H, W) uint8 images.
    """
    ranges = np.asarray([how.brightness, how.contrast, how.saturation])
    if not (ranges.any() or how.hue or how.grey):
        return pixels
    factors = 1 + ranges * (2 * draws[:, :3] - 1)
    turn = how.hue * (2 * draws[:, 3] - 1)
    as_it_is = draws[:, 4] >= how.coloured
    factors[as_it_is], turn[as_it_is] = 1, 0
    factors[draws[:, 5] < how.grey, 2] = 0
    factors = factors.astype(np.float32)[:, :, None, None, None]
    values = pixels.astype(np.float32)
    values *= factors[:, 0]
    # no product of matrices, and means in fp64: their rounding differs between processors
    red, green, blue = (share * values[:, n : n + 1] for n, share in enumerate(_LUMA))
    luma = red + green + blue  # S 1 H W
    mean = luma.mean(axis=(2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    values = mean + (values - mean) * factors[:, 1]
    luma = mean + (luma - mean) * factors[:, 1]
    values -= luma
    values *= factors[:, 2]
    if how.hue:
        values = _turned(values, turn)
    values += luma
    shown: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return shown


def _turned(colours: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Colours (S, 3, H, W) turned about the grey axis by shares of a circle (S,).

    Source: Rodrigues' formula, with sine and cosine as whole multiples of 1 / FINE.
    """
    angle = 2 * np.pi * turn
    cos, sin = (
        (np.rint(value * FINE) / FINE).astype(np.float32)[:, None, None]
        for value in (np.cos(angle), np.sin(angle) / 3**0.5)
    )
    red, green, blue = colours[:, 0], colours[:, 1], colours[:, 2]
    grey = (red + green + blue) * (np.float32(1 / 3) * (1 - cos))
    across = (blue - green, red - blue, green - red)
    turned = [
        own * cos + side * sin + grey for own, side in zip((red, green, blue), across, strict=True)
    ]
    return np.stack(turned, 1)
