"""Text or images: what the data are decides which recipe runs, and is said.

`headstart pretrain photos/` needs no flag: a folder, a table of paths or a Parquet file with bytes
is looked at, and the family and objective follow unless they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.config import IMAGE_FAMILY, PretrainSettings
from headstart.data.image_kind import Reads, holds_images
from headstart.data.leaks import LeakReport
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.families import load_model, resolve
from headstart.recipes import image_pretraining, pretraining
from headstart.recipes.image_planning import plan_images
from headstart.recipes.image_pretraining import for_images
from headstart.recipes.media import what_it_reads
from headstart.recipes.planning import Plan, plan_texts
from headstart.recipes.results import PretrainResult
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
    if reads_images(data, settings, events):
        events.note(say("data_are_images"))
        chosen = for_images(settings, data)
        return image_pretraining.pretrain_images(data, settings=chosen, events=events)
    return pretraining.pretrain(data, settings=settings, events=events, leaks=leaks)


def plan(data: Sequence[Path], *, settings: PretrainSettings, events: Events | None = None) -> Plan:
    """Forecast a pretraining run on text or on images; see the two modules.

    Raises InputError if there is nothing to pretrain on.
    """
    listener = events or Silent()
    if reads_images(data, settings, listener):
        listener.note(say("data_are_images"))
        return plan_images(data, settings=settings, events=listener)
    return plan_texts(data, settings=settings, events=listener)


def reads_images(data: Sequence[Path], settings: PretrainSettings, events: Events) -> bool:
    """Whether these files are read for images; says how where they hold both.

    Raises InputError for an image family where there is only text.
    """
    reads: Reads | None = None
    if settings.start != "scratch":
        reads = what_it_reads(load_model(resolve(settings.start)))
    elif "family" in settings.model.model_fields_set:
        reads = "images" if settings.model.family == IMAGE_FAMILY else "text"
    text, image = settings.data.text, settings.images.column
    found = holds_images(data, text=text, image=image, reads=reads, note=events.note)
    if not found and settings.model.family == IMAGE_FAMILY and settings.start == "scratch":
        raise InputError(
            f"{data[0]} holds text, but model.family {IMAGE_FAMILY} reads images: leave it out, or "
            "give a folder or table of images"
        )
    return found
