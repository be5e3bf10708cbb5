"""Pretraining on images: folders and tables in, a run folder with a pretrained ViT out.

Images, network, objective and trainer, in this order; each is announced before it is used. The
model folder holds the body (`ViTModel`); the decoder is only needed while pretraining and stays in
the checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.config import ImageSettings, PictureSettings, PretrainSettings
from headstart.data.augment import Augmentation
from headstart.data.image_batches import ImageRows, Views
from headstart.data.image_leaks import find_image_leaks
from headstart.data.images import (
    Images,
    LabelledImages,
    load_images,
    load_labelled_images,
    usual_side,
)
from headstart.data.loader import Chosen, TokenBatches, permutation
from headstart.data.patches import PixelFrame
from headstart.errors import InputError
from headstart.evaluate.probe import online_probe
from headstart.events import Events
from headstart.families import Model, load_model, resolve, save_model
from headstart.families.style import PatchDecoder
from headstart.objectives.masked_image import MaskedAutoencoder, SimpleMaskedImage
from headstart.recipes.building import train_settings
from headstart.recipes.image_building import (
    image_family,
    image_model,
    objective_for_images,
    pixel_sequences,
    refuse_text,
)
from headstart.recipes.pretraining import default_folder, measure_held_out, run_steps
from headstart.recipes.results import PretrainResult
from headstart.settings_file import to_yaml
from headstart.tasks import LabelledTokens
from headstart.train import Learner, Probe, RunFolder, Trainer, make_lineage
from headstart.train.checkpoint import digest_of
from headstart.words import say

HELD_OUT, MOST_HELD_OUT = 0.01, 512  # share and number of images that the final loss is measured on
IMAGES_PER_BATCH = 256  # where data.tokens_per_batch is not given
SHOWN_PROBLEMS = 5

ImageObjective = MaskedAutoencoder | SimpleMaskedImage


@dataclass(frozen=True)
class _Prepared:
    """Everything that is trained with."""

    images: Images
    left_out: frozenset[int]
    model: Model
    frame: PixelFrame
    objective: ImageObjective

    @property
    def kept(self) -> np.ndarray:
        """Numbers of the images that are learnt from."""
        return np.setdiff1d(np.arange(len(self.images)), sorted(self.left_out))

    @property
    def digest(self) -> str:
        """Of what is learnt from."""
        assert self.images.store is not None, "images of a run lie in its folder"
        whole = self.images.store.digest
        left_out = sorted(self.left_out)
        return digest_of({"images": whole, "left out": left_out}) if left_out else whole


def pretrain_images(
    data: Sequence[Path],
    *,
    settings: PretrainSettings,
    events: Events,
    images: Images | None = None,
    left_out: frozenset[int] = frozenset(),
) -> PretrainResult:
    """Pretrain on these images; the same call again goes on where a stopped one was.

    images: these same images, where they were read before at the size asked for, into a store.
    left_out: numbers of images that must not be learnt.
    Images of the probe are left out too.
    Raises InputError if there are less than two usable images, or the settings do not fit them.
    """
    begin = time.perf_counter()
    refuse_text(data[0], settings.data.text)
    start = None if settings.start == "scratch" else load_model(resolve(settings.start))
    if start is not None and start.pixels is None:
        raise InputError(f"{data[0]} holds images, but the model of {settings.start} reads text")
    side = usual_side(data, image=settings.images.column)
    model, frame = image_model(
        settings.model, settings.images, start, side=side, seed=settings.seed
    )
    objective = image_objective(settings, model, frame)
    objective.refuse(model)
    settings = _resolved(settings, frame)
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    if images is None:
        images = read_images(data, settings.images, folder.path / "images", frame, events)
    labelled = _probe_images(settings, frame, events)
    if labelled is not None:
        leaks = find_image_leaks(images, test=labelled.images)
        events.note(str(leaks))
        left_out |= leaks.drop
    prepared = _Prepared(images, left_out, model, frame, objective)
    if len(prepared.kept) < 2:
        raise InputError(f"{data[0]}: one image is too few to pretrain on; give more")
    source, held_out = _sources(settings, prepared)
    heads = objective.heads(model, seed=settings.seed, start=None if start is None else start.heads)
    assert images.store is not None, "images of a run lie in its folder"
    trainer = Trainer(
        Learner(model, heads),
        objective,
        source,
        train_settings(settings, model),
        folder=folder.path,
        probes=[] if labelled is None else [_probe(labelled, frame, settings)],
        data_digest=prepared.digest,
        note=events.note,
    )
    _announce(settings, prepared, folder, events)
    tokens, loss = run_steps(trainer, events, lambda rate: f"{rate / frame.tokens:,.0f} images/s")
    unseen = measure_held_out(objective, trainer.learner, held_out)
    _save(trainer, prepared, folder, settings)
    seconds = time.perf_counter() - begin
    return PretrainResult(
        folder.path, trainer.outcome.step, tokens, seconds, loss, unseen, reads="images"
    )


def _resolved(settings: PretrainSettings, frame: PixelFrame) -> PretrainSettings:
    """The settings with all that the images decided, so that run.yaml repeats the run."""
    update = {"size": frame.image_size, "patch": frame.patch_size}
    size = tokens_of_batch(settings, frame)
    return settings.model_copy(
        update={
            "images": settings.images.model_copy(update=update),
            "data": settings.data.model_copy(update={"tokens_per_batch": size}),
        }
    )


def tokens_of_batch(settings: PretrainSettings, frame: PixelFrame) -> int:
    """Tokens of one step."""
    if "tokens_per_batch" in settings.data.model_fields_set:
        return settings.data.tokens_per_batch
    return IMAGES_PER_BATCH * frame.tokens


def image_objective(settings: PretrainSettings, model: Model, frame: PixelFrame) -> ImageObjective:
    """The objective that the settings name."""
    chosen = settings.images
    if settings.objective.name == "simmim":
        unit = 2 if frame.grid >= 12 else 1
        return SimpleMaskedImage(frame, rate=chosen.mask_rate or 0.6, unit=unit)
    width = chosen.decoder_size or max(64, model.config.hidden_size // 2)
    decoder = PatchDecoder(
        hidden_size=width,
        num_layers=chosen.decoder_layers,
        num_heads=max(1, width // 64),
        intermediate_size=4 * width,
        mask_ratio=chosen.mask_rate or 0.75,
        normalised=True,
    )
    return MaskedAutoencoder(frame, decoder)


def read_images(
    data: Sequence[Path],
    settings: PictureSettings,
    place: Path,
    frame: PixelFrame,
    events: Events,
) -> Images:
    """Images decoded into a store, and what was found on the way said."""
    images = load_images(
        data,
        side=frame.image_size,
        image=settings.column,
        place=place,
        progress=lambda done, most: events.progress("decode", done, most),
    )
    for note in images.notes:
        events.note(note)
    events.note(
        say(
            "images_read",
            images=len(images),
            size=frame.image_size,
            set_aside=images.quarantined,
            rejected=images.rejected,
        )
    )
    for found in images.problems[:SHOWN_PROBLEMS]:
        events.note(str(found))
    return images


def _probe_images(
    settings: PretrainSettings, frame: PixelFrame, events: Events
) -> LabelledImages | None:
    """The user's own task, if a file or folder of it was given."""
    if settings.probe is None:
        return None
    found = load_labelled_images(
        settings.probe,
        side=frame.image_size,
        image=settings.images.column,
        label=settings.data.label,
        kind=settings.data.kind,
    )
    events.note(found.note)
    return found


def _probe(labelled: LabelledImages, frame: PixelFrame, settings: PretrainSettings) -> Probe:
    inputs = pixel_sequences(labelled.images.pixels, frame)
    examples = LabelledTokens(inputs, labelled.labels, labelled.kind, labelled.classes)
    return online_probe(examples, frame, max_length=frame.tokens, seed=settings.seed)


def _sources(settings: PretrainSettings, prepared: _Prepared) -> tuple[Views, Views]:
    """Batches to train on, seen anew every epoch, and batches of images held out, as they are."""
    frame = prepared.frame
    rows = ImageRows(prepared.images.pixels, tokens=frame.tokens)
    size = settings.data.tokens_per_batch
    kept = prepared.kept
    apart = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(kept))))
    order = kept[permutation(len(kept), settings.seed, 1)]
    learn, held = (
        TokenBatches(Chosen(rows, np.sort(numbers)), tokens_per_batch=size, seed=settings.seed)
        for numbers in (order[apart:], order[:apart])
    )
    side, seed = frame.image_size, settings.seed
    how = varied(settings.images)
    return Views(learn, side=side, seed=seed, how=how), Views(held, side=side, seed=seed)


def varied(chosen: ImageSettings) -> Augmentation:
    """How images are seen while pretraining."""
    return Augmentation(
        scale=(chosen.crop, 1.0),
        mirror=chosen.mirror,
        brightness=chosen.jitter,
        contrast=chosen.jitter,
        saturation=chosen.jitter,
    )


def _announce(
    settings: PretrainSettings, prepared: _Prepared, folder: RunFolder, events: Events
) -> None:
    config, frame = prepared.model.config, prepared.frame
    events.plan(
        [
            say(
                "plan_image_model",
                family=settings.model.family,
                size=settings.model.size,
                layers=config.num_layers,
                hidden=config.hidden_size,
                parameters=sum(p.numel() for p in prepared.model.parameters()) / 1e6,
                side=frame.image_size,
                patch=frame.patch_size,
            ),
            say("plan_objective", objective=settings.objective.name),
            say("plan_budget", budget=settings.budget),
            say("plan_out", out=folder.path),
        ]
    )


def _save(
    trainer: Trainer, prepared: _Prepared, folder: RunFolder, settings: PretrainSettings
) -> None:
    """The model folder and the lineage."""
    model, store = trainer.learner.model, prepared.images.store
    assert isinstance(model, Model)
    assert store is not None, "images of a run lie in its folder"
    save_model(
        model,
        {},
        folder.model,
        pixels=prepared.frame.scale,
        about=f"Pretrained from {settings.start} by predicting hidden patches "
        f"({settings.objective.name}).",
    )
    left = len(prepared.left_out)
    left_out = {"left out of the corpus": str(left)} if left else {}
    lineage = make_lineage(
        trainer.outcome,
        trainer.precision,
        data={"corpus": store.digest, **left_out},
        parent="" if settings.start == "scratch" else settings.start,
        seeds={"all": settings.seed},
    )
    folder.write_lineage(lineage)


def for_images(settings: PretrainSettings, data: Sequence[Path]) -> PretrainSettings:
    """The settings with a family and an objective for images where none were given."""
    model = image_family(settings.model, data[0])
    objective = objective_for_images(settings.objective, data[0])
    return settings.model_copy(update={"model": model, "objective": objective})
