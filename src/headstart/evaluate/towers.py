"""A model of two towers in use: unit vectors of texts and of images, that can be multiplied.

In: texts, or decoded images of the model's size. Out: fp32 vectors, as stock libraries give them
for the same folder. A text longer than the text tower reads is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from headstart.batch import Batch
from headstart.data.image_batches import PIXELS
from headstart.data.pack import lay_out
from headstart.data.patches import PixelFrame, PixelScale, cut, lay_out_patches
from headstart.data.text import demand_ids, encode, load_tokenizer
from headstart.errors import HeadstartError, InputError
from headstart.evaluate.features import demand_finite, find_device
from headstart.families import load_model
from headstart.families.catalog import find_model_type
from headstart.families.fields import read_fields
from headstart.families.model import Model
from headstart.families.pair_head import PairHead
from headstart.tasks.examples import vocabulary_of

TEXTS_AT_ONCE, IMAGES_AT_ONCE = 512, 128


@dataclass(frozen=True, eq=False)
class Towers:
    """A model of two towers with all that its inputs need."""

    model: Model
    head: PairHead
    frame: PixelFrame
    tokenizer: Tokenizer

    @classmethod
    def open(cls, folder: str | Path) -> Towers:
        """From a model folder. Raises InputError if it has no two towers or no tokenizer."""
        loaded = load_model(folder)
        head = loaded.heads.get("pair")
        images = loaded.model.config.images
        if images is None or images.patches is None or not isinstance(head, PairHead):
            raise InputError(
                f"{folder} holds a model of family {loaded.model.family} "
                f"({loaded.model.arrangement}), but two towers are needed, of images and of texts"
            )
        patches = images.patches
        frame = PixelFrame(patches.image_size, patches.patch_size, loaded.pixels or PixelScale())
        tokenizer = load_tokenizer(folder)
        demand_ids(tokenizer, folder, size=loaded.model.config.vocab_size)
        device = find_device("auto")
        return cls(loaded.model.to(device), head.to(device), frame, tokenizer)

    @property
    def factor(self) -> float:
        """What products of vectors are multiplied by before a softmax."""
        with torch.no_grad():
            return float(self.head.factor())

    @torch.no_grad()
    def texts(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] = lambda done, all_: None,
    ) -> np.ndarray:
        """(M, C) unit vectors, in the order of the texts."""
        words = vocabulary_of(self.tokenizer)
        fits = words.room(self.model.config.max_positions, self.model.config.max_positions)
        tokens = encode(self.tokenizer, texts, max_length=fits)
        found = []
        for chosen in _parts(len(texts), TEXTS_AT_ONCE):
            stream, layout = lay_out(
                tokens.take(chosen), prefix=words.cls, suffix=words.sep, pad=words.pad
            )
            batch = Batch({"tokens": stream}, {"tokens": layout}, {}).to(self._device)
            found.append(self._of_texts(batch).cpu().numpy())
            progress(int(chosen[-1]) + 1, len(texts))
        return demand_finite(np.concatenate(found))

    @torch.no_grad()
    def images(
        self,
        pixels: np.ndarray,
        *,
        progress: Callable[[int, int], None] = lambda done, all_: None,
    ) -> np.ndarray:
        """(N, C) unit vectors of (N, 3, S, S) uint8 images of the model's size."""
        found = []
        for chosen in _parts(len(pixels), IMAGES_AT_ONCE):
            values = self.frame.scale.apply(np.asarray(pixels[chosen]))
            stream, layout = lay_out_patches(cut(values, self.frame.patch_size))
            batch = Batch({PIXELS: stream}, {PIXELS: layout}, {}).to(self._device)
            found.append(self._of_images(batch).cpu().numpy())
            progress(int(chosen[-1]) + 1, len(pixels))
        return demand_finite(np.concatenate(found))

    def _of_texts(self, batch: Batch) -> Tensor:
        layout = batch.layout["tokens"]
        return self.head.of_texts(lambda at: self.model.encode(batch, at=at), layout)

    def _of_images(self, batch: Batch) -> Tensor:
        layout = batch.layout[PIXELS]
        return self.head.of_images(lambda at: self.model.encode_images(batch, at=at), layout)

    @property
    def _device(self) -> torch.device:
        return self.model.embed.tokens.weight.device


def refuse_towers(model: Model, start: str | Path) -> None:
    """Raise InputError for a model of two towers, where one of texts alone is wanted."""
    if model.images is not None:
        raise InputError(
            f"{start} holds two towers, of texts and of images, which can only be pretrained on, "
            "evaluated and asked to predict so far: choose a model of texts"
        )


def has_towers(folder: Path) -> bool:
    """Whether the model of a folder is of a family of two towers; no weights are read.

    What cannot be read is of no family: opening it says why.
    """
    try:
        hf = read_fields(folder / "config.json")
        kind = str(hf.values.get("model_type"))
        return find_model_type(kind, source=hf.source).template.images is not None
    except HeadstartError:
        return False


def _parts(count: int, size: int) -> list[np.ndarray]:
    return [np.arange(begin, min(begin + size, count)) for begin in range(0, count, size)]
