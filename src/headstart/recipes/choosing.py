"""Text or images: what the data are decides which recipe runs, and is said.

`headstart pretrain photos/` needs no flag: a folder, a table of paths or a Parquet file with bytes
is looked at, and the family and objective follow unless they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.config import IMAGE_FAMILY, OWN_OBJECTIVES, PretrainSettings
from headstart.data.image_kind import Reads, holds_images
from headstart.data.leaks import LeakReport
from headstart.errors import InputError
from headstart.events import Events
from headstart.families import load_model, resolve
from headstart.recipes import image_pretraining, pretraining
from headstart.recipes.media import image_family, what_it_reads
from headstart.recipes.results import PretrainResult
from headstart.sections import objectives_for
from headstart.words import say


def pretrain(
    data: Sequence[Path],
    *,
    settings: PretrainSettings,
    events: Events,
    leaks: LeakReport | None = None,
) -> PretrainResult:
    """Pretrain on text or on images, whichever these files hold; see the two recipes.

    Raises InputError if the family or the objective that was asked for is for the other.
    """
    reads: Reads | None = None
    if settings.start != "scratch":
        reads = what_it_reads(load_model(resolve(settings.start)))
    elif "family" in settings.model.model_fields_set:
        reads = "images" if settings.model.family == IMAGE_FAMILY else "text"
    text, image = settings.data.text, settings.images.column
    if holds_images(data, text=text, image=image, reads=reads, note=events.note):
        events.note(say("data_are_images"))
        chosen = for_images(settings, data)
        return image_pretraining.pretrain_images(data, settings=chosen, events=events)
    if settings.model.family == IMAGE_FAMILY and settings.start == "scratch":
        raise InputError(
            f"{data[0]} holds text, but model.family {IMAGE_FAMILY} reads images: leave it out, or "
            "give a folder or table of images"
        )
    return pretraining.pretrain(data, settings=settings, events=events, leaks=leaks)


def for_images(settings: PretrainSettings, data: Sequence[Path]) -> PretrainSettings:
    """The settings with a family and an objective for images where none were given."""
    model, objective = image_family(settings.model, data[0]), settings.objective
    able = objectives_for("image encoder")
    if objective.name not in able:
        if "name" in objective.model_fields_set:
            raise InputError(
                f"{data[0]} holds images, but objective.name {objective.name} predicts text: leave "
                f"it out, or write objective.name: {' or '.join(able)}"
            )
        objective = objective.model_copy(update={"name": OWN_OBJECTIVES[IMAGE_FAMILY]})
    return settings.model_copy(update={"model": model, "objective": objective})
