"""Pretraining on images with captions: tables in, a run folder with a CLIP out.

Pairs, a held-out part without look-alikes in training, tokenizer, network, objective and trainer,
in this order; each is announced before it is used. At the end captions and images held out must
find each other, beside what colours and words alone find.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headstart.config import PretrainSettings
from headstart.data.augment import Augmentation
from headstart.data.caption_batches import Captioned, Captions
from headstart.data.image_batches import ImageRows, Views
from headstart.data.image_leaks import find_image_leaks
from headstart.data.image_store import ImageStore
from headstart.data.images import Images, usual_side
from headstart.data.loader import Chosen, TokenBatches, permutation
from headstart.data.pairs import Pairs, load_pairs
from headstart.data.patches import PixelFrame
from headstart.data.text import framed, tokenizer_fit
from headstart.errors import InputError
from headstart.evaluate.alignment import slipped_captions
from headstart.evaluate.colour_baseline import ColourBaseline
from headstart.evaluate.retrieval import Gold, Retrieval, retrieval
from headstart.evaluate.towers import Towers
from headstart.events import Events
from headstart.families import Model, save_model
from headstart.families.pair_head import PairBias, PairHead
from headstart.objectives import Vocabulary
from headstart.objectives.image_text import BIAS, ImageText
from headstart.recipes.building import train_settings
from headstart.recipes.pair_building import PairStart
from headstart.recipes.pretraining import (
    announce,
    conclude,
    default_folder,
    measure_held_out,
    run_steps,
)
from headstart.recipes.results import PretrainResult, Retrieved
from headstart.recipes.telling import tell
from headstart.settings_file import to_yaml
from headstart.tasks.examples import vocabulary_of
from headstart.train import Learner, RunFolder, Trainer
from headstart.train.disk import write_atomically
from headstart.words import say

MOST_HELD_OUT = 1000
CROP = 0.9  # least share of an image that is seen, where images.crop is not given
FEWEST = 4  # images with captions
IMAGES, PAIRS = "images", "pairs.jsonl"  # in the run folder


@dataclass(frozen=True, eq=False)
class _Split:
    """Numbers of the images to learn from and of those held out."""

    pairs: Pairs
    learn: np.ndarray
    held: np.ndarray

    def captions(self, numbers: np.ndarray) -> list[tuple[str, ...]]:
        """Of these images."""
        return [self.pairs.images.captions[n] for n in numbers.tolist()]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Everything that is trained with."""

    split: _Split
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    model: Model
    frame: PixelFrame
    objective: ImageText


def pretrain_pairs(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events
) -> PretrainResult:
    """Pretrain on these pairs; the same call again goes on where a stopped one was.

    Raises InputError if there are too few usable pairs, or the settings do not fit them.
    """
    begin = time.perf_counter()
    if settings.probe is not None:
        raise InputError("probe is for text so far: leave it out when pretraining on pairs")
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    start = PairStart.open(settings)
    side = usual_side(data, image=settings.images.column, encoding=settings.data.encoding)
    frame = start.frame(side=side)
    split = _split(_read(data, settings, folder, frame, events), settings, folder, events)
    prepared = _prepare(split, settings, start, frame, events)
    source, held_out = _sources(settings, prepared)
    objective, model = prepared.objective, prepared.model
    heads = objective.heads(model, seed=settings.seed, start=start.heads)
    first = objective.prepare(source.batch(0), np.random.default_rng(settings.seed))
    start.begin(objective, model, heads, first)
    trainer = Trainer(
        Learner(model, heads),
        objective,
        source,
        train_settings(settings, model),
        folder=folder.path,
        data_digest=_digest(split.pairs.images),
        note=events.note,
    )
    _announce(settings, prepared, folder, events)
    width = float(source.captions.tokens.lengths.mean())
    tokens, loss = run_steps(trainer, events, "pairs", size=width)
    unseen = measure_held_out(objective, trainer.learner, held_out)
    _save(trainer, prepared, folder, start)
    found = _retrieved(trainer.learner, prepared, events)
    return PretrainResult(
        folder.path,
        trainer.outcome.step,
        tokens,
        time.perf_counter() - begin,
        loss,
        unseen,
        reads="pairs",
        retrieval=found,
    )


def _read(
    data: Sequence[Path],
    settings: PretrainSettings,
    folder: RunFolder,
    frame: PixelFrame,
    events: Events,
) -> Pairs:
    pairs = load_pairs(
        data,
        side=frame.image_size,
        image=settings.images.column,
        caption=settings.pairs.caption,
        encoding=settings.data.encoding,
        place=folder.path / IMAGES,
        progress=lambda done, most: events.progress("decode", done, most),
    )
    events.note(pairs.note)
    images = pairs.images
    events.note(
        say(
            "pairs_read",
            images=len(images),
            captions=sum(map(len, images.captions)),
            size=frame.image_size,
            set_aside=images.quarantined,
            rejected=images.rejected,
        )
    )
    tell((*pairs.problems, *slipped_captions(images, str(data[0]))), events)
    if len(pairs) < FEWEST:
        raise InputError(
            f"{data[0]}: {len(pairs)} images with captions are too few to pretrain on; give at "
            f"least {FEWEST}"
        )
    return pairs


def _split(pairs: Pairs, settings: PretrainSettings, folder: RunFolder, events: Events) -> _Split:
    """Hold some images out, and leave out of training what looks like one of them."""
    count = len(pairs)
    apart = max(1, min(MOST_HELD_OUT, round(settings.pairs.held_out * count)))
    order = permutation(count, settings.seed, 1)
    held, rest = np.sort(order[:apart]), np.sort(order[apart:])
    images = pairs.images
    leaks = find_image_leaks(test=images.take(held), train=images)  # those held out are found too
    learn = np.setdiff1d(rest, np.fromiter(leaks.train_drop, np.int64))
    events.note(
        say("pairs_split", held=len(held), left_out=len(rest) - len(learn), learn=len(learn))
    )
    if len(learn) < FEWEST // 2:
        raise InputError(
            f"{images.origins[0]}: only {len(learn)} images are left to learn from, the others "
            "look like those held out: give more different images"
        )
    lines = [
        json.dumps(
            {"image": int(pairs.numbers[n]), "captions": images.captions[n]}, ensure_ascii=False
        )
        for n in learn.tolist()
    ]
    write_atomically(folder.path / PAIRS, ("\n".join(lines) + "\n").encode())
    return _Split(pairs, learn, held)


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a run learnt from: all its images, and the numbers and captions of those it learnt."""

    store: ImageStore
    numbers: np.ndarray
    captions: list[tuple[str, ...]]


def read_learnt(folder: Path) -> Learnt | None:
    """What a run learnt from; None where the folder holds no run on pairs."""
    if not (folder / PAIRS).is_file() or not (folder / IMAGES).is_dir():
        return None
    lines = (folder / PAIRS).read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    numbers = np.asarray([one["image"] for one in found], dtype=np.int64)
    return Learnt(
        ImageStore.open(folder / IMAGES), numbers, [tuple(one["captions"]) for one in found]
    )


def _prepare(
    split: _Split,
    settings: PretrainSettings,
    start: PairStart,
    frame: PixelFrame,
    events: Events,
) -> _Prepared:
    """Tokenizer, network and objective."""
    texts = [text for each in split.captions(split.learn) for text in each]
    tokenizer = start.tokenizer(texts, events)
    vocabulary = vocabulary_of(tokenizer)
    model = start.network(vocabulary, frame, events)
    fit = tokenizer_fit(tokenizer, texts, max_length=model.config.max_positions)
    events.note(
        say(
            "tokenizer_fit",
            tokens=fit.tokens,
            size=vocabulary.size,
            fertility=fit.fertility,
            unknown=100 * fit.unknown_share,
            long=100 * fit.truncated_share,
        )
    )
    tell_cut(tokenizer, texts, model, events)
    chosen = settings.pairs
    objective = ImageText(frame, vocabulary, kind=chosen.loss, chunk=chosen.chunk)
    objective.refuse(model)
    return _Prepared(split, tokenizer, vocabulary, model, frame, objective)


def tell_cut(tokenizer: Tokenizer, texts: Sequence[str], model: Model, events: Events) -> None:
    """Say how many texts are longer than the model reads."""
    most = model.config.max_positions
    fit = tokenizer_fit(tokenizer, texts, max_length=most)
    count = round(fit.truncated_share * fit.texts)
    if count:
        events.note(
            say("captions_cut", count=count, rows=fit.texts, most=most, longest=fit.longest)
        )


def _sources(settings: PretrainSettings, prepared: _Prepared) -> tuple[Captioned, Captioned]:
    """Batches to train on, seen and worded anew every epoch, and batches held out, as they are."""
    split, chosen = prepared.split, settings.images
    images, seed, side = split.pairs.images, settings.seed, prepared.frame.image_size
    captions = Captions.of(
        images.captions,
        prepared.tokenizer,
        room=prepared.vocabulary.room(
            prepared.model.config.max_positions, settings.data.max_length
        ),
    )
    rows = ImageRows(images.pixels, tokens=1)
    learn, held = (
        TokenBatches(Chosen(rows, numbers), tokens_per_batch=settings.pairs.batch, seed=seed)
        for numbers in (split.learn, split.held)
    )
    how = Augmentation(
        scale=(chosen.crop or CROP, 1.0),
        mirror=chosen.mirror,
        brightness=chosen.jitter,
        contrast=chosen.jitter,
        saturation=chosen.jitter,
    )
    return (
        Captioned(Views(learn, side=side, seed=seed, how=how), captions, seed=seed),
        Captioned(Views(held, side=side, seed=seed), captions, seed=seed),
    )


def _digest(images: Images) -> str:
    """Of all images and captions, in their order."""
    text = json.dumps(images.captions, ensure_ascii=True)
    return hashlib.sha256(images.digests.tobytes() + text.encode()).hexdigest()


def _announce(
    settings: PretrainSettings, prepared: _Prepared, folder: RunFolder, events: Events
) -> None:
    batch = min(settings.pairs.batch, len(prepared.split.learn))
    chunk = min(settings.pairs.chunk or batch, batch)
    model, pairs, images = prepared.model, settings.pairs, prepared.model.config.images
    key, more = "plan_pair_model", {}
    if pairs.start_text is not None or pairs.start_images is not None:
        assert images is not None, "two towers"
        key = "plan_towers"  # each of the size that it has
        more = {"image_layers": images.num_layers, "image_hidden": images.hidden_size}
    announce(
        key,
        settings,
        model,
        folder,
        events,
        more=[say("plan_pairs", batch=batch, loss=pairs.loss, chunk=chunk)],
        side=prepared.frame.image_size,
        patch=prepared.frame.patch_size,
        vocabulary=prepared.vocabulary.size,
        **more,
    )


def _save(trainer: Trainer, prepared: _Prepared, folder: RunFolder, start: PairStart) -> None:
    """The model folder and the lineage."""
    settings = start.settings
    learner = trainer.learner
    model, bias = learner.model, dict(learner.heads.items()).get(BIAS)
    assert isinstance(model, Model)
    if isinstance(bias, PairBias):
        model.style = replace(model.style, pair_bias=float(bias.value.detach()))
    save_model(
        model,
        {"pair": learner.heads[prepared.objective.name]},
        folder.model,
        # stock libraries ask the tokenizer for the token at which texts are read
        tokenizer=framed(prepared.tokenizer, prepared.vocabulary.cls, prepared.vocabulary.sep),
        pixels=prepared.frame.scale,
        about=say(
            "card_pretrained_pairs",
            start=start.parent or settings.start,
            loss=settings.pairs.loss,
        ),
    )
    digest = _digest(prepared.split.pairs.images)
    conclude(trainer, folder, settings, digest=digest, parent=start.parent)


def _retrieved(learner: Learner, prepared: _Prepared, events: Events) -> Retrieved:
    """How often pairs held out find each other, by the model and by colours and words alone."""
    model, head = learner.model, learner.heads[prepared.objective.name]
    assert isinstance(model, Model)
    assert isinstance(head, PairHead)
    split = prepared.split
    towers = Towers(model, head, prepared.frame, prepared.tokenizer)
    pixels = np.asarray(split.pairs.images.pixels[split.held])
    captions = split.captions(split.held)
    events.progress("baseline", 0, 1)
    seen = split.pairs.images.pixels
    baseline = ColourBaseline(seen, split.captions(split.learn), numbers=split.learn)
    events.progress("baseline", 1, 1)
    return Retrieved(measure(towers, pixels, captions), measure(baseline, pixels, captions))


def measure(
    model: Towers | ColourBaseline, pixels: np.ndarray, captions: Sequence[Sequence[str]]
) -> Retrieval:
    """Recall both ways between images and their captions."""
    gold = Gold.of(captions)
    return retrieval(model.images(pixels), model.texts(gold.texts), gold)
