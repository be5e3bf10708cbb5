"""Text, images or images with captions: what the data are decides which recipe runs, and is said.

`headstart pretrain photos/` needs no flag: a folder, a table of paths or a Parquet file with bytes
is looked at, and the family and objective follow unless they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from headstart.config import (
    IMAGE_FAMILY,
    OWN_OBJECTIVES,
    PAIR_FAMILIES,
    PAIR_FAMILY,
    Family,
    PretrainSettings,
)
from headstart.data.image_kind import Reads, holds_images, without_captions
from headstart.data.leaks import LeakReport
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.families import load_model, resolve
from headstart.recipes import image_pretraining, pair_pretraining, pretraining
from headstart.recipes.forecasting import Plan
from headstart.recipes.image_planning import plan_images
from headstart.recipes.image_pretraining import for_images
from headstart.recipes.media import what_it_reads
from headstart.recipes.planning import plan_texts
from headstart.recipes.results import PretrainResult
from headstart.recipes.staging import in_stages
from headstart.words import say

READS = {IMAGE_FAMILY: "images", **dict.fromkeys(PAIR_FAMILIES, "images with captions")}


def pretrain(
    data: Sequence[Path],
    *,
    settings: PretrainSettings,
    events: Events,
    leaks: LeakReport | None = None,
) -> PretrainResult:
    """Pretrain on what these files hold: text, images, or images with captions; see the recipes.

    Raises InputError if the family or the objective that was asked for is for the other.
    """
    if not reads_images(data, settings, events):
        texts = partial(pretraining.pretrain, leaks=leaks)
        return (texts if settings.then is None else partial(in_stages, run=texts))(
            data, settings=settings, events=events
        )
    if for_pairs(settings, data):
        if settings.then is not None:
            raise InputError(
                f"then is {settings.then}, but images with captions are learnt in one stage: leave "
                "it out, or write model.family: vit to learn from the images alone"
            )
        events.note(say("data_are_pairs"))
        model = settings.model.model_copy(update={"family": _pair_family(settings)})
        objective = settings.objective.model_copy(update={"name": OWN_OBJECTIVES[PAIR_FAMILY]})
        chosen = settings.model_copy(update={"model": model, "objective": objective})
        return pair_pretraining.pretrain_pairs(data, settings=chosen, events=events)
    events.note(say("data_are_images"))
    chosen = for_images(settings, data)
    images = image_pretraining.pretrain_images
    if chosen.then is not None:
        return in_stages(data, settings=chosen, events=events, run=images)
    return images(data, settings=chosen, events=events)


def plan(data: Sequence[Path], *, settings: PretrainSettings, events: Events | None = None) -> Plan:
    """Forecast a pretraining run on text or on images; see the two modules.

    Raises InputError if there is nothing to pretrain on.
    """
    listener = events or Silent()
    if not reads_images(data, settings, listener):
        return plan_texts(data, settings=settings, events=listener)
    if for_pairs(settings, data):
        raise InputError(
            "plan is for text and images so far: for images with captions, pretrain itself times "
            "its steps before it begins"
        )
    listener.note(say("data_are_images"))
    return plan_images(data, settings=settings, events=listener)


def reads_images(data: Sequence[Path], settings: PretrainSettings, events: Events) -> bool:
    """Whether these files are read for images; says how where they hold both.

    Raises InputError for a family of images where there is only text.
    """
    family = settings.model.family
    reads: Reads | None = None
    if settings.start != "scratch":
        reads = what_it_reads(load_model(resolve(settings.start)))
    elif "family" in settings.model.model_fields_set:
        reads = "images" if family in READS else "text"
    found = holds_images(
        data,
        text=settings.data.text,
        image=settings.images.column,
        reads=reads,
        encoding=settings.data.encoding,
        note=events.note,
    )
    if not found and family in READS and settings.start == "scratch":
        raise InputError(
            f"{data[0]} holds text, but {settings.pairs.named or f'model.family {family}'} reads "
            f"{READS[family]}: leave it out, or give a folder or table of {READS[family]}"
        )
    return found


def for_pairs(settings: PretrainSettings, data: Sequence[Path]) -> bool:
    """Whether images go with captions: they were asked for, or are there and nothing else was.

    Raises InputError where they were asked for and there are none.
    """
    model, objective = settings.model, settings.objective
    asked = model.family in PAIR_FAMILIES or objective.name == OWN_OBJECTIVES[PAIR_FAMILY]
    others = "family" in model.model_fields_set or "name" in objective.model_fields_set
    if others and not asked:
        return False
    lacking = without_captions(
        data,
        image=settings.images.column,
        caption=settings.pairs.caption,
        encoding=settings.data.encoding,
    )
    if lacking is not None and asked:
        fix = "name it with --set pairs.caption=COLUMN" if lacking.columns else "give a table"
        raise InputError(
            f"{lacking.path} holds images, but no column is named like captions, which "
            f"{settings.pairs.named or f'model.family {_pair_family(settings)}'} learns from: "
            f"{fix}, or leave that out to learn from images alone"
        )
    return lacking is None


def _pair_family(settings: PretrainSettings) -> Family:
    """The family of two towers that is asked for, or the usual one."""
    family = settings.model.family
    return family if family in PAIR_FAMILIES else PAIR_FAMILY
