"""Control arms on images without any transformer: pixels and HOG, as features of a linear head.

In: pixels (N, 3, S, S) uint8. Out: (N, F) fp64. Nothing is fitted, so no test image is ever looked
at before it is answered for. Neighbours, the third control, are in `neighbours.py`.

Legend: N images, S pixels a side, C cells a side, B blocks a side, O orientations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from headstart.data.augment import resize

Floats = npt.NDArray[np.float64]

SMALL = 16  # pixels a side, to which images are brought as plain pixels
CELLS = 8  # a side, at most
ORIENTATIONS = 9
BLOCK = 2  # cells a side
CLIP = 0.2  # of L2-Hys
EPSILON = 1e-5
AT_ONCE = 256


def pixel_features(pixels: np.ndarray) -> Floats:
    """Colours from 0 to 1 of at most 16 x 16 pixels, (N, 3 * S * S).

    A linear head on more pixels costs much and gains nothing: it sees colours in places.
    """
    side = min(SMALL, pixels.shape[-1])
    return _in_parts(pixels, lambda part: resize(part, (side, side)).reshape(len(part), -1) / 255)


def hog_features(pixels: np.ndarray) -> Floats:
    """Histograms of oriented gradients, (N, B * B * 2 * 2 * O), with at most 8 cells a side.

    Source: Dalal and Triggs 2005; the steps are those that scikit-image documents for `hog`.
    """
    cell = -(-pixels.shape[-1] // CELLS)
    return _in_parts(pixels, lambda part: hog(part, cell=cell))


def hog(
    pixels: np.ndarray, *, cell: int, block: int = BLOCK, orientations: int = ORIENTATIONS
) -> Floats:
    """Cells of cell x cell pixels, blocks of block x block cells, each normalised by L2-Hys.

    pixels: (N, channels, S, S). Returns (N, B * B * block * block * orientations), rows of blocks,
    of cells and then orientations from 0 to 180 degrees. Pixels beyond the last whole cell count
    for nothing.
    """
    cells = _cells(*_strongest(pixels.astype(np.float64)), cell=cell, orientations=orientations)
    blocks = cells.shape[1] - block + 1
    parts = [
        cells[:, row : row + blocks, column : column + blocks]
        for row in range(block)
        for column in range(block)
    ]
    grouped = np.stack(parts, 3)  # N B B block*block O
    flat = grouped.reshape(len(pixels), blocks, blocks, -1)
    clipped = np.minimum(_unit(flat), CLIP)
    return np.asarray(_unit(clipped).reshape(len(pixels), -1), dtype=np.float64)


def _strongest(pixels: Floats) -> tuple[Floats, Floats]:
    """Size and direction (degrees, 0 to 180) of the gradient (N, S, S), of the channel in which it
    is largest. At the border the difference across it is 0.
    """
    down, right = np.zeros_like(pixels), np.zeros_like(pixels)
    down[:, :, 1:-1] = pixels[:, :, 2:] - pixels[:, :, :-2]
    right[..., 1:-1] = pixels[..., 2:] - pixels[..., :-2]
    size = np.hypot(down, right)
    channel = size.argmax(1)[:, None]
    size, down, right = (np.take_along_axis(x, channel, 1)[:, 0] for x in (size, down, right))
    return size, np.rad2deg(np.arctan2(down, right)) % 180


def _cells(size: Floats, angle: Floats, *, cell: int, orientations: int) -> Floats:
    """(N, C, C, O): the mean over a cell's pixels of the gradients that fall into a bin."""
    count, side = len(size), size.shape[1] // cell
    whole = side * cell
    bins = np.minimum(angle[:, :whole, :whole] * orientations // 180, orientations - 1)
    own = bins.astype(np.int64)
    shape = (count, side, cell, side, cell)
    cells = np.empty((count, side, side, orientations))
    for number in range(orientations):
        there = np.where(own == number, size[:, :whole, :whole], 0.0)
        cells[..., number] = there.reshape(shape).mean((2, 4))
    return cells


def _unit(blocks: Floats) -> Floats:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + EPSILON**2))


def centred(train: Floats, *others: Floats) -> list[Floats]:
    """All counted from the training rows' mean, in units of their usual distance from it."""
    mean = train.mean(0)
    scale = float(np.sqrt(((train - mean) ** 2).sum(1).mean())) or 1.0
    return [(side - mean) / scale for side in (train, *others)]


def _in_parts(pixels: np.ndarray, make: Callable[[np.ndarray], np.ndarray]) -> Floats:
    parts = [make(pixels[n : n + AT_ONCE]) for n in range(0, len(pixels), AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)
