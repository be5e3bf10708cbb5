"""Labelled images: folders and tables of them, brought to the model's size as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.batch import Sequences
from headstart.config import ModelSettings, PictureSettings, TextSettings
from headstart.data.image_kind import Reads
from headstart.data.image_leaks import find_image_leaks
from headstart.data.images import (
    Images,
    LabelledImages,
    load_images,
    load_labelled_images,
    usual_side,
)
from headstart.data.patches import PixelFrame
from headstart.errors import InputError
from headstart.evaluate.transfer import Start
from headstart.events import Events
from headstart.families import Loaded
from headstart.recipes.image_building import image_family, image_model, pixel_sequences, refuse_text
from headstart.recipes.medium import Rows
from headstart.tasks import Kind
from headstart.words import Phrase, say


class ImageMedium:
    """Folders and tables of images, brought to the model's size as they are read."""

    reads: Reads = "images"

    def __init__(
        self,
        data: Path,
        name: str,
        loaded: Loaded | None,
        text: TextSettings,
        images: PictureSettings,
        model: ModelSettings,
        seed: int,
        events: Events,
    ):
        """Raises InputError if the model that was named reads text, or there is no image."""
        if loaded is not None and loaded.pixels is None:
            raise InputError(f"{data} holds images, but the model of {name} reads text")
        refuse_text(data, text.text)
        if text.kind == "text":
            raise InputError(
                f"{data} holds images, but data.kind text is for texts that follow texts: leave it "
                "out"
            )
        self.data, self.settings, self.images, self.events = data, text, images, events
        side = (
            0
            if loaded is not None
            else usual_side(data, image=images.column, encoding=text.encoding)
        )
        shape = image_family(model, data)
        net, self.frame = image_model(shape, images, loaded, side=side, seed=seed)
        heads = {} if loaded is None else loaded.heads
        self.origin = Start(net, self.frame, heads, pretrained=loaded is not None, name=name)

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """See `load_labelled_images`; damaged images are set aside."""
        kind: Kind | Literal["auto"] = self.settings.kind if like is None else like.kind
        return load_labelled_images(
            path,
            side=self.frame.image_size,
            image=self.images.column,
            label=self.settings.label,
            kind=kind,
            classes=None if like is None else like.classes or None,
            encoding=self.settings.encoding,
            progress=lambda done, most: self.events.progress("decode", done, most),
        )

    def start(self, learn: Rows) -> Start:
        """The folder's model at the size asked for, or fresh weights."""
        return self.origin

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Pixels, numbered as the rows are."""
        assert isinstance(start.frame, PixelFrame), "a start of images"
        return pixel_sequences(_pictures(rows).images.pixels, start.frame)

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """Decoded into the folder `place`."""
        images = load_images(
            paths,
            side=self.frame.image_size,
            encoding=self.settings.encoding,
            place=place,
            progress=lambda done, most: self.events.progress("decode", done, most),
        )
        found = (find_image_leaks(images, test=_pictures(part).images) for part in apart)
        drop = frozenset[int]().union(*(leaks.drop for leaks in found))
        return pool_of_images(images, drop, str(paths[0]), most=most), len(drop)

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """See `find_image_leaks`."""
        found = find_image_leaks(test=_pictures(test).images, train=_pictures(learn).images)
        return np.asarray(sorted(found.train_drop), dtype=np.int64), str(found)

    def described(self, learn: Rows, classes: str) -> Phrase:
        """How many there are."""
        return say("plan_image_labels", rows=len(learn), classes=classes)

    def digest(self, rows: Rows) -> str:
        """Of the images' files and labels; their size is the model's."""
        mine = _pictures(rows)
        sha = hashlib.sha256(mine.labels.tobytes())
        sha.update(np.ascontiguousarray(mine.images.digests).tobytes())
        return sha.hexdigest()


def pool_of_images(
    images: Images, drop: frozenset[int], source: str, *, most: int
) -> LabelledImages:
    """The first images but for the dropped ones as rows that have no labels yet."""
    kept = np.setdiff1d(np.arange(len(images)), np.fromiter(drop, np.int64))[:most]
    nothing = np.zeros(len(kept), dtype=np.int64)
    return LabelledImages(images.take(kept), nothing, "classes", (), source)


def _pictures(rows: Rows) -> LabelledImages:
    assert isinstance(rows, LabelledImages), "rows of a medium of images"
    return rows
