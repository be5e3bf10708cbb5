"""Images as sequences, and how they look in batch n: a pure function of (seed, n).

In: decoded pixels. Out: `Sequences` whose field "pixels" holds the images. Their tokens are the
patches that a model will make of them, which are counted here but not cut: the ids say nothing.

Legend: N images, S images of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from headstart.batch import Sequences
from headstart.data.augment import Augmentation, augment, resize

PIXELS, VIEWS = "pixels", "views"


class ImageRows:
    """Decoded images as a source for `TokenBatches`.

    pixels: (N, 3, H, W) uint8, perhaps a memory map. tokens: that a model makes of one image.
    fields: further arrays over the images, such as labels. lengths: (N,) all alike.
    """

    def __init__(
        self, pixels: np.ndarray, *, tokens: int, fields: Mapping[str, np.ndarray] | None = None
    ):
        self.pixels, self.tokens, self.fields = pixels, tokens, dict(fields or {})
        self.lengths = np.full(len(pixels), tokens, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen images, in the order given; their index is their number."""
        chosen = np.asarray(chosen, dtype=np.int64)
        fields = {name: values[chosen] for name, values in self.fields.items()}
        pixels = gather(self.pixels, chosen)
        return as_sequences(pixels, chosen, tokens=self.tokens, fields=fields)


class Batches(Protocol):
    """Numbered batches: `TokenBatches`."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches in which every sequence comes once."""
        ...

    def batch(self, n: int) -> Sequences:
        """Batch number n."""
        ...


class Views:
    """Batches whose images are seen anew in every epoch.

    side: of the images given. how: None only brings them to this size. pairs: how two more views of
    each image are made, in the field "views" (S, 2, 3, side, side), where an objective compares.
    The views of an image depend on seed, epoch and the image's number (`Sequences.index`), not on
    the batch it comes in.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        side: int,
        seed: int,
        how: Augmentation | None = None,
        pairs: Augmentation | None = None,
    ):
        self.batches, self.side, self.seed, self.how, self.pairs = batches, side, seed, how, pairs

    @property
    def batches_per_epoch(self) -> int:
        """Batches in which every image comes once."""
        return self.batches.batches_per_epoch

    def batch(self, n: int) -> Sequences:
        """Batch number n, counted from 0 through all epochs."""
        found = self.batches.batch(n)
        pixels, epoch = found.fields[PIXELS], n // self.batches_per_epoch

        def view(number: int, how: Augmentation) -> np.ndarray:
            numbers, side, seed = found.index, self.side, self.seed
            return augment(pixels, numbers, side=side, seed=seed, epoch=epoch, how=how, view=number)

        side = self.side
        seen = resize(pixels, (side, side)) if self.how is None else view(0, self.how)
        fields = {**found.fields, PIXELS: seen}
        if self.pairs is not None:
            fields[VIEWS] = np.stack([view(1, self.pairs), view(2, self.pairs)], 1)
        return replace(found, fields=fields)


def as_sequences(
    pixels: np.ndarray,
    numbers: np.ndarray,
    *,
    tokens: int,
    fields: Mapping[str, np.ndarray] | None = None,
) -> Sequences:
    """Images (S, 3, H, W) as sequences of `tokens` tokens each, whose ids say nothing."""
    lengths = np.full(len(numbers), tokens, dtype=np.int64)
    nothing = np.zeros(len(numbers) * tokens, dtype=np.int64)
    return Sequences(nothing, lengths, numbers, {PIXELS: pixels, **(fields or {})})


def gather(pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen images; read in the order of the file, which a disk likes better."""
    order = np.argsort(chosen, kind="stable")
    found = np.empty((len(chosen), *pixels.shape[1:]), dtype=pixels.dtype)
    found[order] = pixels[chosen[order]]
    return found
