"""Images cut into patches and laid into the flat stream: a class token's slot, then its patches.

In: pixels of one size. Out: the stream's patches (torch) and its `Layout`. Sequences of images are
all of one length, so a batch is one block of rows without padding. A token's position is 0 for the
class token and 1 + the patch's number for a patch, whichever patches are left out.

Legend: S images, C channels, P patches of an image, K of them kept, D = C * patch * patch,
T = S * (1 + K) slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Layout, Sequences
from headstart.data.augment import resize
from headstart.data.image_batches import PIXELS


@dataclass(frozen=True)
class PixelScale:
    """How bytes become numbers: (value / 255 - mean) / std, for red, green and blue."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(S, 3, H, W) uint8 to fp32 numbers around 0."""
        mean, std = (np.asarray(v, dtype=np.float32) for v in (self.mean, self.std))
        factor, offset = 1 / (255 * std), -mean / std
        scaled: np.ndarray = pixels * factor[:, None, None] + offset[:, None, None]
        return scaled


@dataclass(frozen=True)
class PixelFrame:
    """How images enter the stream, as a vocabulary says it of texts.

    image_size, patch_size: pixels a side. scale: from bytes to numbers. fit: whether images of
    another size are brought to this one.
    """

    image_size: int
    patch_size: int
    scale: PixelScale = field(default_factory=PixelScale)
    fit: bool = False

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Of one image: its patches and the class token."""
        return 1 + self.grid**2

    def room(self, max_positions: int, max_length: int) -> int:
        """Tokens that a sequence may have: images are never cut up."""
        return self.tokens

    def lay_out(
        self, sequences: Sequences, *, pack: bool = True
    ) -> tuple[dict[str, Tensor], Layout]:
        """What a model takes of these images, and the layout, which is the same packed or not."""
        stream, layout = lay_out_patches(self.patches(sequences))
        return {PIXELS: stream}, layout

    def patches(self, sequences: Sequences) -> np.ndarray:
        """Patches (S, P, D) of the field "pixels"; see `cut`."""
        pixels = sequences.fields[PIXELS]
        if self.fit:
            pixels = resize(pixels, (self.image_size, self.image_size))
        return self.cut(pixels)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """(S, 3, H, W) uint8 to patches (S, P, D) fp32. Raises ValueError for another size."""
        if pixels.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"images of {pixels.shape[2]} x {pixels.shape[3]} pixels for a model of "
                f"{self.image_size} x {self.image_size}: resize them first"
            )
        return cut(self.scale.apply(pixels), self.patch_size)


def cut(pixels: np.ndarray, patch: int) -> np.ndarray:
    """(S, C, H, W) to (S, P, D): patches row by row; in each, channel before row before column.

    Raises ValueError unless height and width are multiples of `patch`.
    """
    count, channels, height, width = pixels.shape
    if height % patch or width % patch:
        raise ValueError(f"{height} x {width} pixels cannot be cut into patches of {patch}")
    rows, columns = height // patch, width // patch
    grid = pixels.reshape(count, channels, rows, patch, columns, patch)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, -1)


def join(patches: np.ndarray, *, patch: int, columns: int) -> np.ndarray:
    """(S, P, D) to (S, C, H, W): the reverse of `cut`. columns: patches beside each other."""
    count, number, size = patches.shape
    channels, rows = size // patch**2, number // columns
    grid = patches.reshape(count, rows, columns, channels, patch, patch)
    return grid.transpose(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * patch, -1)


def lay_out_patches(
    patches: np.ndarray, *, kept: np.ndarray | None = None
) -> tuple[Tensor, Layout]:
    """The stream (T, D) with an empty slot for each class token, and its layout.

    patches: (S, P, D) fp32. kept: (S, K) numbers of the patches that enter; None: all.
    """
    count, number, size = patches.shape
    chosen = np.broadcast_to(np.arange(number), (count, number)) if kept is None else kept
    layout = image_layout(chosen)
    stream = np.zeros((count, 1 + chosen.shape[1], size), dtype=np.float32)
    stream[:, 1:] = patches if kept is None else of_each(patches, kept)
    return torch.from_numpy(stream.reshape(-1, size)), layout


def of_each(patches: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The patches (S, K, D) of these numbers (S, K), of each image's (S, P, D)."""
    count, number, size = patches.shape
    rows = numbers + np.arange(count)[:, None] * number
    found: np.ndarray = patches.reshape(-1, size).take(rows, axis=0)
    return found


def image_layout(chosen: np.ndarray) -> Layout:
    """The layout of images of which these patches (S, K) are there, in this order."""
    count, width = chosen.shape[0], 1 + chosen.shape[1]
    positions = np.zeros((count, width), dtype=np.int64)
    positions[:, 1:] = chosen + 1
    return Layout(
        lengths=torch.full((count,), width),
        positions=torch.from_numpy(positions.ravel()),
        sequence=torch.arange(count).repeat_interleave(width),
        first=torch.arange(count) * width,
        rows=((count, width),),
        packed=False,
    )
