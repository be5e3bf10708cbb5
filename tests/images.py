"""Random images and tiny image models, for tests of tensors."""

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Batch, Sequences
from headstart.data.image_batches import as_sequences
from headstart.data.patches import PixelFrame, PixelScale, cut, lay_out_patches

SIDE, PATCH = 16, 4
TOKENS = 1 + (SIDE // PATCH) ** 2
FRAME = PixelFrame(SIDE, PATCH, PixelScale((0.5, 0.4, 0.6), (0.5, 0.2, 0.3)))


def random_pixels(count=3, *, side=SIDE, seed=0) -> np.ndarray:
    """(S, 3, side, side) uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def image_sequences(pixels: np.ndarray, **fields: np.ndarray) -> Sequences:
    """Images as sequences, numbered from 0."""
    return as_sequences(pixels, np.arange(len(pixels)), tokens=TOKENS, fields=fields)


def values(pixels: np.ndarray) -> Tensor:
    """What a stock model takes: (S, 3, H, W) fp32."""
    return torch.from_numpy(FRAME.scale.apply(pixels))


def image_batch(pixels: np.ndarray, *, patch=PATCH) -> Batch:
    """The same images for our models."""
    stream, layout = lay_out_patches(cut(FRAME.scale.apply(pixels), patch))
    return Batch({"pixels": stream}, {"tokens": layout}, {})
