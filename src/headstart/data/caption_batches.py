"""Batches of images, each with one of its captions: a pure function of (seed, n), as images are.

In: batches of images and their captions as ids. Out: `Sequences` whose tokens are captions and
whose field "pixels" holds the images; the field "text" is the number of the caption's wording, so
that two images with the same words are known to be alike.

Legend: N images, S images of a batch, C captions of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences
from headstart.data.augment import keyed_uniform
from headstart.data.image_batches import Batches
from headstart.data.text import encode

TEXT = "text"
_CAPTION = 0xCA9  # tells the draw of a caption from those of an image's view


@dataclass(frozen=True, eq=False)
class Captions:
    """Captions of N images as ids.

    tokens: all captions, those of one image beside each other, with the field "text".
    first: (N,) where each image's captions begin. counts: (N,) how many it has, at least one.
    """

    tokens: Sequences
    first: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]], tokenizer: Tokenizer, *, room: int) -> Captions:
        """Encoded, each cut after `room` tokens."""
        texts = [text for each in captions for text in each]
        counts = np.fromiter(map(len, captions), np.int64, len(captions))
        tokens = encode(tokenizer, texts, max_length=room)
        known: dict[str, int] = {}
        numbers = [known.setdefault(text, len(known)) for text in texts]
        fields = {TEXT: np.asarray(numbers, dtype=np.int64)}
        return cls(replace(tokens, fields=fields), np.cumsum(counts) - counts, counts)

    def draw(self, images: np.ndarray, *, seed: int, epoch: int) -> Sequences:
        """One caption of each image (S,), decided by seed, epoch and the image's number alone."""
        drawn = keyed_uniform((seed, epoch, _CAPTION), images, 1)[:, 0]
        return self.tokens.take(self.first[images] + (drawn * self.counts[images]).astype(np.int64))


class Captioned:
    """Batches of images (`Views`) with a caption each, another one in every epoch.

    The lengths of a batch are those of its captions; its index are the images' numbers.
    """

    def __init__(self, batches: Batches, captions: Captions, *, seed: int):
        self.batches, self.captions, self.seed = batches, captions, seed

    @property
    def batches_per_epoch(self) -> int:
        """Batches in which every image comes once."""
        return self.batches.batches_per_epoch

    def batch(self, n: int) -> Sequences:
        """Batch number n, counted from 0 through all epochs."""
        found = self.batches.batch(n)
        epoch = n // self.batches_per_epoch
        texts = self.captions.draw(found.index, seed=self.seed, epoch=epoch)
        return Sequences(texts.tokens, texts.lengths, found.index, {**found.fields, **texts.fields})
