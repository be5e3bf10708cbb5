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

from headstart.config import PictureSettings, PretrainSettings
from headstart.data.augment import Augmentation
from headstart.data.code_book import CodeBook
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
from headstart.objectives.contrastive import Contrast
from headstart.objectives.image_objective import ImagePart, ImagePretraining
from headstart.objectives.masked_image import MaskedAutoencoder, SimpleMaskedImage
from headstart.objectives.visual_tokens import VisualTokens
from headstart.recipes.building import refuse_objective, train_settings
from headstart.recipes.code_book import code_book
from headstart.recipes.image_building import (
    image_family,
    image_model,
    objective_for_images,
    pixel_sequences,
    refuse_text,
)
from headstart.recipes.pretraining import (
    announce,
    conclude,
    default_folder,
    measure_held_out,
    run_steps,
)
from headstart.recipes.results import PretrainResult
from headstart.recipes.telling import echo, tell
from headstart.settings_file import to_yaml
from headstart.tasks import LabelledTokens
from headstart.train import Learner, Probe, RunFolder, Trainer
from headstart.train.checkpoint import digest_of
from headstart.words import say

HELD_OUT, MOST_HELD_OUT = 0.01, 512  # share and number of images that the final loss is measured on
LEAST_COMPARED = 32  # images held out, but not more than a quarter, where they are compared
IMAGES_PER_BATCH = 256  # where data.tokens_per_batch is not given
CROP = 0.2  # least share of the area, where images.crop is not given


@dataclass(frozen=True)
class _Prepared:
    """Everything that is trained with."""

    images: Images
    left_out: frozenset[int]
    model: Model
    frame: PixelFrame

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
    side = usual_side(data, image=settings.images.column, encoding=settings.data.encoding)
    model, frame = image_model(
        settings.model, settings.images, start, side=side, seed=settings.seed
    )
    refuse_objective(settings, model)
    settings = _resolved(settings, frame)
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    if images is None:
        images = read_images(
            data,
            settings.images,
            folder.path / "images",
            frame,
            events,
            encoding=settings.data.encoding,
        )
    labelled = _probe_images(settings, frame, events)
    if labelled is not None:
        leaks = find_image_leaks(images, test=labelled.images)
        events.note(str(leaks))
        left_out |= leaks.drop
    prepared = _Prepared(images, left_out, model, frame)
    if len(prepared.kept) < 2:
        raise InputError(f"{data[0]}: one image is too few to pretrain on; give more")
    source, held_out = image_batches(settings, images.pixels, frame, kept=prepared.kept)
    assert images.store is not None, "images of a run lie in its folder"
    digest, codes = prepared.digest, None
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
        probes=[] if labelled is None else [_probe(labelled, frame, settings)],
        data_digest=digest,
        note=events.note,
    )
    side, patch = frame.image_size, frame.patch_size
    announce("plan_image_model", settings, prepared.model, folder, events, side=side, patch=patch)
    tokens, loss = run_steps(trainer, events, "images", size=frame.tokens)
    unseen = measure_held_out(objective, trainer.learner, held_out)
    _save(trainer, prepared, folder, settings, digest=digest)
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


def read_images(
    data: Sequence[Path],
    settings: PictureSettings,
    place: Path,
    frame: PixelFrame,
    events: Events,
    *,
    encoding: str | None,
) -> Images:
    """Images decoded into a store, and what was found on the way said."""
    images = load_images(
        data,
        side=frame.image_size,
        image=settings.column,
        encoding=encoding,
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
    tell(images.problems, events)
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
        encoding=settings.data.encoding,
    )
    echo(found, events)
    return found


def _probe(labelled: LabelledImages, frame: PixelFrame, settings: PretrainSettings) -> Probe:
    inputs = pixel_sequences(labelled.images.pixels, frame)
    examples = LabelledTokens(inputs, labelled.labels, labelled.kind, labelled.classes)
    return online_probe(examples, frame, max_length=frame.tokens, seed=settings.seed)


def image_batches(
    settings: PretrainSettings,
    pixels: np.ndarray,
    frame: PixelFrame,
    *,
    kept: np.ndarray | None = None,
) -> tuple[Views, Views]:
    """Batches to train on, seen anew every epoch, and batches of images held out, as they are.

    pixels: (N, 3, H, W) uint8. kept: numbers of the images to learn from; None: all.
    """
    rows = ImageRows(pixels, tokens=frame.tokens)
    size = tokens_of_batch(settings, frame)
    kept = np.arange(len(rows)) if kept is None else kept
    compared = "contrast" in settings.objective.name.split("+")
    least = min(LEAST_COMPARED, len(kept) // 4) if compared else 1
    apart = max(1, least, min(MOST_HELD_OUT, round(HELD_OUT * len(kept))))
    order = kept[permutation(len(kept), settings.seed, 1)]
    learn, held = (
        TokenBatches(Chosen(rows, np.sort(numbers)), tokens_per_batch=size, seed=settings.seed)
        for numbers in (order[apart:], order[:apart])
    )
    return views(settings, learn, frame), views(settings, held, frame, varied=False)


def views(
    settings: PretrainSettings, source: TokenBatches, frame: PixelFrame, *, varied: bool = True
) -> Views:
    """Images as pretraining sees them. varied: anew every epoch, or as they are."""
    chosen = settings.images
    how = Augmentation(
        scale=(chosen.crop or CROP, 1.0),
        mirror=chosen.mirror,
        brightness=chosen.jitter,
        contrast=chosen.jitter,
        saturation=chosen.jitter,
    )
    pairs = None
    if "contrast" in settings.objective.name.split("+"):
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
    return Views(source, side=side, seed=seed, how=how if varied else None, pairs=pairs)


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
        about=say(
            "card_pretrained_images", start=settings.start, objective=settings.objective.name
        ),
    )
    conclude(trainer, folder, settings, digest=digest, left_out=len(prepared.left_out))


def for_images(settings: PretrainSettings, data: Sequence[Path]) -> PretrainSettings:
    """The settings with a family and an objective for images where none were given."""
    model = image_family(settings.model, data[0])
    objective = objective_for_images(settings.objective, data[0])
    return settings.model_copy(update={"model": model, "objective": objective})
