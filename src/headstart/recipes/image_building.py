"""From settings to the pieces of a run on images: network, frame, start; as `building` for text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headstart.abilities import objectives_for
from headstart.batch import Sequences
from headstart.config import (
    IMAGE_FAMILY,
    OWN_OBJECTIVES,
    ModelSettings,
    ObjectiveSettings,
    PictureSettings,
    ReadSettings,
)
from headstart.data.image_batches import as_sequences
from headstart.data.patches import PixelFrame, PixelScale
from headstart.errors import InputError
from headstart.evaluate.towers import refuse_towers
from headstart.evaluate.transfer import Start
from headstart.families import Loaded, Model, vit
from headstart.nn import Patches


def image_model(
    model: ModelSettings, images: PictureSettings, start: Loaded | None, *, side: int, seed: int = 0
) -> tuple[Model, PixelFrame]:
    """A fresh network for images of about `side` pixels, or the checkpoint's at the wanted size."""
    if start is not None:
        patches, scale = start.model.config.patches, start.pixels
        assert patches is not None, "a model of images"
        size = images.size or patches.image_size
        found = vit.at_size(start.model, size)
        return found, PixelFrame(size, patches.patch_size, scale or PixelScale())
    size, patch = images.shape(side)
    layers, hidden, heads, inner = model.shape()
    fresh = vit.build(
        num_layers=layers,
        hidden_size=hidden,
        num_heads=heads,
        intermediate_size=inner,
        dropout=model.dropout,
        patches=Patches(image_size=size, patch_size=patch),
        seed=seed,
    )
    return fresh, PixelFrame(size, patch)


def image_family(model: ModelSettings, data: Path) -> ModelSettings:
    """The settings with a family for images where none was given."""
    if model.family == IMAGE_FAMILY:
        return model
    if "family" in model.model_fields_set:
        raise InputError(
            f"{data} holds images, but model.family {model.family} reads text: leave it out, or "
            f"write model.family: {IMAGE_FAMILY}"
        )
    return model.model_copy(update={"family": IMAGE_FAMILY})


def objective_for_images(objective: ObjectiveSettings, data: Path) -> ObjectiveSettings:
    """The settings with an objective for images where none was given."""
    able = objectives_for("image encoder")
    if objective.name in able:
        return objective
    if "name" in objective.model_fields_set:
        raise InputError(
            f"{data} holds images, but objective.name {objective.name} predicts text: leave it "
            f"out, or write objective.name: {' or '.join(able)}"
        )
    return objective.model_copy(update={"name": OWN_OBJECTIVES[IMAGE_FAMILY]})


def image_start(loaded: Loaded, name: str) -> Start:
    """A start from a folder of a model that reads images, at its own size."""
    refuse_towers(loaded.model, name)
    patches = loaded.model.config.patches
    assert patches is not None, "a model of images"
    frame = PixelFrame(patches.image_size, patches.patch_size, loaded.pixels or PixelScale())
    return Start(loaded.model, frame, loaded.heads, name=name)


def pixel_sequences(pixels: np.ndarray, frame: PixelFrame) -> Sequences:
    """All of these images, numbered from 0."""
    return as_sequences(pixels, np.arange(len(pixels)), tokens=frame.tokens)


def refuse_text(data: Path, text: str | None) -> None:
    """Raise InputError if a column of texts is named where images are read."""
    if text is not None:
        raise InputError(
            f"{data} is read for images, so there is no column of texts '{text}': leave --text out"
        )


def refuse_images(read: ReadSettings) -> None:
    """Raise InputError if a column of images is named where texts are read."""
    if read.images.column is not None:
        raise InputError(
            f"texts are read here, so there is no column of images '{read.images.column}': leave "
            "images.column out"
        )
