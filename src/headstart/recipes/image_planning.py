"""What pretraining on images would do, before it does it: the counterpart of `planning` for text.

Images are counted without being decoded, the first ones are, and steps of the very network are
timed on them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.config import PretrainSettings
from headstart.data.code_book import learn_codes
from headstart.data.decoding import decode_all
from headstart.data.image_batches import ImageRows
from headstart.data.image_files import ImageSource, find_images, read_pictures
from headstart.data.images import usual_side
from headstart.data.loader import TokenBatches
from headstart.data.patches import PixelFrame
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.events import Events
from headstart.families import Model, load_model, resolve
from headstart.objectives.image_objective import ImagePretraining
from headstart.objectives.masked_image import MaskedAutoencoder
from headstart.recipes.building import refuse_objective, train_settings
from headstart.recipes.forecasting import CorpusSize, Network, Plan, forecast, joined
from headstart.recipes.image_building import image_model
from headstart.recipes.image_pretraining import (
    for_images,
    image_objective,
    tokens_of_batch,
    views,
)
from headstart.recipes.machine import matrix_gflops
from headstart.recipes.planning import (
    EFFICIENCY,
    MEASURE_S,
    computing_on,
    machine_in_words,
    stages_of,
)
from headstart.train import Learner
from headstart.train.plan import StepTime, time_step

SAMPLE = 512  # images that are decoded


def plan_images(data: Sequence[Path], *, settings: PretrainSettings, events: Events) -> Plan:
    """Forecast a pretraining run on images. Raises InputError if there are none."""
    settings = for_images(settings, data)
    column, encoding = settings.images.column, settings.data.encoding
    side = usual_side(data, image=column, encoding=encoding)
    start = None if settings.start == "scratch" else load_model(resolve(settings.start))
    model, frame = image_model(
        settings.model, settings.images, start, side=side, seed=settings.seed
    )
    refuse_objective(settings, model)
    parts = stages_of(settings)
    sources = find_images(data, image=column, encoding=encoding)
    pixels, set_aside, rejected = _sample(sources, frame, events)
    if not len(pixels):
        raise InputError(f"{data[0]}: none of the first images can be used; see headstart check")
    looked_at = len(pixels) + set_aside + rejected
    most = sum(source.count for source in sources)
    count = round(most * len(pixels) / looked_at)
    corpus = CorpusSize(len(sources), count, set_aside, rejected, count * frame.tokens)
    events.progress("calibrate", 0, 0)
    plans = []
    for part in parts:
        codes = None
        if "beit" in part.objective.name.split("+"):
            patches = frame.cut(pixels).reshape(-1, 3 * frame.patch_size**2)
            codes = learn_codes(patches, part.images.codes, seed=part.seed)
        own = copy.deepcopy(model)
        objective = image_objective(part, own, frame, codes=codes)
        network = Network.of(own)
        measured = _measure(part, own, objective, frame, pixels)
        plans.append(
            forecast(
                corpus,
                replace(network, vocab_size=0),
                settings=part,
                measured=measured,
                machine=machine_in_words(part),
                batch=tokens_of_batch(part, frame),
                shown=_shown(objective),
                stored_bytes=3 * frame.image_size**2 * count,
                images=(frame.image_size, frame.patch_size, frame.tokens),
            )
        )
    events.progress("calibrate", 1, 1)
    return joined(plans, start=settings.start)


def _sample(
    sources: Sequence[ImageSource], frame: PixelFrame, events: Events
) -> tuple[np.ndarray, int, int]:
    """Pixels of the first images, and how many of the first records were set aside or rejected."""
    first = islice(read_pictures(sources), SAMPLE)
    found, aside = [], {"quarantine": 0, "reject": 0, "warn": 0}
    for number, item in enumerate(decode_all(first, side=frame.image_size), 1):
        if isinstance(item, Problem):
            aside[item.outcome] += 1
        else:
            found.append(item.pixels)
        if number % 64 == 0:
            events.progress("decode", number, SAMPLE)
    events.progress("decode", SAMPLE, SAMPLE)
    pixels = np.stack(found) if found else np.zeros((0, 3, 1, 1), dtype=np.uint8)
    return pixels, aside["quarantine"], aside["reject"]


def _shown(objective: ImagePretraining) -> float:
    """Share of the patches that the encoder works on."""
    found = [p.decoder.mask_ratio for p in objective.parts if isinstance(p, MaskedAutoencoder)]
    return 1 - found[0] if found else 1.0


def _measure(
    settings: PretrainSettings,
    model: Model,
    objective: ImagePretraining,
    frame: PixelFrame,
    pixels: np.ndarray,
) -> StepTime:
    """Time steps of the network on these images; smaller ones where whole steps take too long."""
    size = tokens_of_batch(settings, frame)
    here = computing_on(settings)
    if here.device.type == "cpu":
        kind: Literal["bf16", "fp32"] = "bf16" if here.dtype.itemsize == 2 else "fp32"
        speed = matrix_gflops(kind, size=512, seconds=0.1) * 1e9 * EFFICIENCY
        needed = 6 * Network.of(model).body * _shown(objective)
        size = max(8 * frame.tokens, min(size, int(MEASURE_S / 4 * speed / needed)))
    rows = ImageRows(pixels, tokens=frame.tokens)
    batches = TokenBatches(rows, tokens_per_batch=size, seed=settings.seed)
    source = views(settings, batches, frame)
    learner = Learner(model, objective.heads(model, seed=settings.seed))
    training = train_settings(settings, model)
    return time_step(learner, objective, source, training, within_s=MEASURE_S)
