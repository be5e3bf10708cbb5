"""Texts or images: which of the two a labelled file holds, and what follows for the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from headstart.config import (
    IMAGE_FAMILY,
    FinetuneSettings,
    ModelSettings,
    PictureSettings,
    ReportSettings,
    TextSettings,
)
from headstart.data.image_kind import Reads, holds_images
from headstart.errors import InputError
from headstart.evaluate.towers import refuse_towers
from headstart.events import Events
from headstart.families import Loaded, load_model, resolve
from headstart.recipes.image_building import objective_for_images
from headstart.recipes.image_medium import ImageMedium
from headstart.recipes.medium import Medium
from headstart.recipes.text_medium import TextMedium
from headstart.words import say

IMAGES_PER_STEP = 64  # of fine-tuning, unless given
# of fine-tuning, unless given: a network pretrained without dropout forgets with it (LOG.md)
IMAGES_USUAL = {"epochs": 30, "dropout": 0.0, "head_scale": 1.0}


def medium_of(
    data: Path,
    start: str | None,
    *,
    text: TextSettings,
    images: PictureSettings,
    model: ModelSettings,
    seed: int,
    events: Events,
    written: bool = False,
) -> Medium:
    """What a labelled file or folder holds, and the model that is started from.

    start: a run, a folder, "hf:NAME"; None or "scratch" for fresh weights by `seed`. written:
    whether labels may be texts that are to be written.
    Raises InputError if the model reads the other.
    """
    loaded = None if start in (None, "scratch") else load_model(resolve(start or ""))
    wanted: Reads | None = None
    if loaded is not None:
        refuse_towers(loaded.model, start or "")
        wanted = what_it_reads(loaded)
    if loaded is None and "family" in model.model_fields_set:
        wanted = "images" if model.family == IMAGE_FAMILY else "text"
    found = holds_images(
        [data],
        text=text.text,
        image=images.column,
        reads=wanted,
        encoding=text.encoding,
        note=events.note,
    )
    if found or (wanted == "images" and not data.exists()):
        events.note(say("data_are_images"))
        return ImageMedium(data, start or "scratch", loaded, text, images, model, seed, events)
    if wanted == "images":
        name = f"model.family {IMAGE_FAMILY}" if loaded is None else f"the model of {start}"
        raise InputError(
            f"{data} holds text, but {name} reads images: leave it out, or give a folder or table "
            "of images"
        )
    return TextMedium(start or "scratch", loaded, text, model, seed, written=written)


AnySettings = TypeVar("AnySettings", FinetuneSettings, ReportSettings)


def suited(settings: AnySettings, medium: Medium) -> AnySettings:
    """The settings with what images need otherwise than texts, where it was not given.

    They are written to run.yaml like this, so that the file repeats the run.
    """
    if not isinstance(medium, ImageMedium):
        return settings
    usual = {**IMAGES_USUAL, "tokens_per_batch": IMAGES_PER_STEP * medium.frame.tokens}
    transfer = settings.transfer
    given = {k for k in transfer.model_fields_set if getattr(transfer, k) is not None}
    changed = {k: v for k, v in usual.items() if k not in given}
    size, patch = medium.frame.image_size, medium.frame.patch_size
    update = {
        "transfer": transfer.model_copy(update=changed),
        "model": settings.model.model_copy(update={"family": IMAGE_FAMILY}),
        "images": settings.images.model_copy(update={"size": size, "patch": patch}),
    }
    if isinstance(settings, ReportSettings):
        objective = objective_for_images(settings.objective, medium.data)
        return settings.model_copy(update={**update, "objective": objective})
    return settings.model_copy(update=update)


def what_it_reads(loaded: Loaded) -> Reads:
    """What goes into a loaded model."""
    return "text" if loaded.pixels is None else "images"
