"""Pretraining on images: folders and tables in, a run folder with a pretrained ViT out.

Images, network, objective and trainer, in this order; each is announced before it is used. The
model folder holds the body (`ViTModel`); the decoder is only needed while pretraining and stays in
the checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.config import PretrainSettings
from headstart.data.augment import Augmentation
from headstart.data.code_book import CodeBook
from headstart.data.image_batches import ImageRows, Views
from headstart.data.images import Images, load_images, usual_side
from headstart.data.loader import Chosen, TokenBatches, permutation
from headstart.data.patches import PixelFrame, PixelScale
from headstart.errors import InputError
from headstart.events import Events
from headstart.families import Loaded, Model, load_model, resolve, save_model, vit
from headstart.families.style import PatchDecoder
from headstart.nn import Patches
from headstart.objectives.contrastive import Contrast
from headstart.objectives.image_objective import ImagePart, ImagePretraining
from headstart.objectives.masked_image import MaskedAutoencoder, SimpleMaskedImage
from headstart.objectives.visual_tokens import VisualTokens
from headstart.recipes.building import train_settings
from headstart.recipes.code_book import code_book
from headstart.recipes.pretraining import default_folder, measure_held_out, run_steps
from headstart.recipes.results import PretrainResult
from headstart.settings_file import to_yaml
from headstart.train import Learner, RunFolder, Trainer, make_lineage
from headstart.words import say

HELD_OUT, MOST_HELD_OUT = 0.01, 512  # share and number of images that the final loss is measured on
LEAST_COMPARED = 32  # images held out, but not more than a quarter, where they are compared
IMAGES_PER_BATCH = 256  # where data.tokens_per_batch is not given
SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class _Prepared:
    """Everything that is trained with."""

    images: Images
    model: Model
    frame: PixelFrame


def pretrain_images(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events
) -> PretrainResult:
    """Pretrain on these images; the same call again goes on where a stopped one was.

    Raises InputError if there are less than two usable images, or the settings do not fit them.
    """
    begin = time.perf_counter()
    if settings.probe is not None:
        raise InputError("probe is for text so far: leave it out when pretraining on images")
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    start = None if settings.start == "scratch" else load_model(resolve(settings.start))
    if start is not None and start.pixels is None:
        raise InputError(f"{data[0]} holds images, but the model of {settings.start} reads text")
    side = usual_side(data, image=settings.images.column)
    model, frame = image_model(settings, start, side=side)
    images = _read(data, settings, folder.path / "images", frame, events)
    prepared = _Prepared(images, model, frame)
    source, held_out = image_batches(settings, images.pixels, frame)
    assert images.store is not None, "images of a run lie in its folder"
    digest, codes = images.store.digest, None
    if "beit" in settings.objective.name.split("+"):
        codes, own = code_book(
            folder.path,
            source,
            frame,
            count=settings.images.codes,
            seed=settings.seed,
            data=digest,
            events=events,
        )
        digest += f"+{own}"
    objective = image_objective(settings, model, frame, codes=codes)
    heads = objective.heads(model, seed=settings.seed, start=None if start is None else start.heads)
    trainer = Trainer(
        Learner(model, heads),
        objective,
        source,
        train_settings(settings, model),
        folder=folder.path,
        data_digest=digest,
        note=events.note,
    )
    _announce(settings, prepared, folder, events)
    tokens, loss = run_steps(trainer, events, lambda rate: f"{rate / frame.tokens:,.0f} images/s")
    unseen = measure_held_out(objective, trainer.learner, held_out)
    _save(trainer, prepared, folder, settings, digest=digest)
    seconds = time.perf_counter() - begin
    return PretrainResult(
        folder.path, trainer.outcome.step, tokens, seconds, loss, unseen, reads="images"
    )


def image_model(
    settings: PretrainSettings, start: Loaded | None, *, side: int
) -> tuple[Model, PixelFrame]:
    """A fresh network for images of about `side` pixels, or the checkpoint's at the wanted size."""
    if start is not None:
        patches, scale = start.model.config.patches, start.pixels
        assert patches is not None, "a model of images"
        size = settings.images.size or patches.image_size
        model = vit.at_size(start.model, size)
        return model, PixelFrame(size, patches.patch_size, scale or PixelScale())
    size, patch = settings.images.shape(side)
    layers, hidden, heads, inner = settings.model.shape()
    model = vit.build(
        num_layers=layers,
        hidden_size=hidden,
        num_heads=heads,
        intermediate_size=inner,
        dropout=settings.model.dropout,
        patches=Patches(image_size=size, patch_size=patch),
        seed=settings.seed,
    )
    return model, PixelFrame(size, patch)


def image_objective(
    settings: PretrainSettings, model: Model, frame: PixelFrame, *, codes: CodeBook | None = None
) -> ImagePretraining:
    """The objective that the settings name.

    codes: the code book, which beit needs.
    """
    rate, weight = settings.images.mask_rate, settings.objective.patch_weight

    def visual_tokens() -> VisualTokens:
        assert codes is not None, "beit needs a code book"
        return VisualTokens(codes, rate=rate or 0.4, weight=weight)

    makers: dict[str, Callable[[], ImagePart]] = {
        "mae": lambda: _autoencoder(settings, model),
        "simmim": lambda: SimpleMaskedImage(
            rate=rate or 0.6, unit=2 if frame.grid >= 12 else 1, weight=weight
        ),
        "beit": visual_tokens,
        "contrast": lambda: Contrast("crops", settings.objective.temperature or 0.2),
    }
    return ImagePretraining([makers[name]() for name in settings.objective.name.split("+")], frame)


def _autoencoder(settings: PretrainSettings, model: Model) -> MaskedAutoencoder:
    chosen = settings.images
    width = chosen.decoder_size or max(64, model.config.hidden_size // 2)
    decoder = PatchDecoder(
        hidden_size=width,
        num_layers=chosen.decoder_layers,
        num_heads=max(1, width // 64),
        intermediate_size=4 * width,
        mask_ratio=chosen.mask_rate or 0.75,
        normalised=True,
    )
    return MaskedAutoencoder(decoder, weight=settings.objective.patch_weight)


def _read(
    data: Sequence[Path],
    settings: PretrainSettings,
    place: Path,
    frame: PixelFrame,
    events: Events,
) -> Images:
    images = load_images(
        data,
        side=frame.image_size,
        image=settings.images.column,
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
    if len(images) < 2:
        raise InputError(f"{data[0]}: one image is too few to pretrain on; give more")
    return images


def image_batches(
    settings: PretrainSettings, pixels: np.ndarray, frame: PixelFrame
) -> tuple[Views, Views]:
    """Batches to train on, seen anew every epoch, and batches of images held out, as they are.

    pixels: (N, 3, H, W) uint8.
    """
    chosen = settings.images
    rows = ImageRows(pixels, tokens=frame.tokens)
    given = "tokens_per_batch" in settings.data.model_fields_set
    size = settings.data.tokens_per_batch if given else IMAGES_PER_BATCH * frame.tokens
    compared = "contrast" in settings.objective.name.split("+")
    least = min(LEAST_COMPARED, len(rows) // 4) if compared else 1
    apart = max(1, least, min(MOST_HELD_OUT, round(HELD_OUT * len(rows))))
    order = permutation(len(rows), settings.seed, 1)
    learn, held = (
        TokenBatches(Chosen(rows, np.sort(numbers)), tokens_per_batch=size, seed=settings.seed)
        for numbers in (order[apart:], order[:apart])
    )
    how = Augmentation(
        scale=(chosen.crop, 1.0),
        mirror=chosen.mirror,
        brightness=chosen.jitter,
        contrast=chosen.jitter,
        saturation=chosen.jitter,
    )
    pairs = None
    if compared:
        pairs = Augmentation(
            scale=(chosen.contrast_crop, 1.0),
            mirror=chosen.mirror,
            brightness=chosen.contrast_jitter,
            contrast=chosen.contrast_jitter,
            saturation=chosen.contrast_jitter,
            hue=chosen.contrast_jitter / 4,
            coloured=0.8,
            grey=chosen.contrast_grey,
        )
    side, seed = frame.image_size, settings.seed
    return (
        Views(learn, side=side, seed=seed, how=how, pairs=pairs),
        Views(held, side=side, seed=seed, pairs=pairs),
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
    trainer: Trainer,
    prepared: _Prepared,
    folder: RunFolder,
    settings: PretrainSettings,
    *,
    digest: str,
) -> None:
    """The model folder and the lineage. digest: of the images, and of the code book if any."""
    model = trainer.learner.model
    assert isinstance(model, Model)
    save_model(
        model,
        {},
        folder.model,
        pixels=prepared.frame.scale,
        about=f"Pretrained on images from {settings.start} by {settings.objective.name}.",
    )
    lineage = make_lineage(
        trainer.outcome,
        trainer.precision,
        data={"corpus": digest},
        parent="" if settings.start == "scratch" else settings.start,
        seeds={"all": settings.seed},
    )
    folder.write_lineage(lineage)
