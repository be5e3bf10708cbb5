"""Texts or images: all that a labelled task must know of which it is.

In: a labelled file or folder, and the settings. Out: a `Medium`, which reads labelled rows, finds
rows of one side in another, gives the model to start from and brings rows into its stream. The
recipes that use it know nothing else of texts and images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences
from headstart.config import (
    IMAGE_FAMILY,
    Family,
    FinetuneSettings,
    LabelSettings,
    ModelSettings,
    PictureSettings,
    ReportSettings,
    TextSettings,
)
from headstart.data.dataset import Corpus, Labelled, load_labelled
from headstart.data.image_kind import Reads, holds_images
from headstart.data.image_leaks import find_image_leaks
from headstart.data.images import (
    Images,
    LabelledImages,
    load_images,
    load_labelled_images,
    usual_side,
)
from headstart.data.leaks import find_leaks
from headstart.data.patches import PixelFrame
from headstart.data.record import Problem
from headstart.data.text import demand_ids, encode, load_tokenizer, train_tokenizer
from headstart.errors import InputError
from headstart.evaluate.towers import refuse_towers
from headstart.evaluate.transfer import Start
from headstart.events import Events
from headstart.families import Loaded, find, load_model, resolve
from headstart.recipes.building import fresh_model
from headstart.recipes.image_building import (
    image_family,
    image_model,
    objective_for_images,
    pixel_sequences,
    refuse_text,
)
from headstart.sections import ARRANGEMENTS
from headstart.tasks import Kind, vocabulary_of
from headstart.words import Phrase, say

IMAGES_PER_STEP, IMAGE_EPOCHS = 64, 30  # of fine-tuning, unless given
WRITING_FAMILY: Family = "t5"


class Rows(Protocol):
    """Labelled rows: `data.dataset.Labelled` or `data.images.LabelledImages`."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) or (N, C), see `Labelled`."""
        ...

    @property
    def kind(self) -> Kind:
        """What they are."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names by class number."""
        ...

    @property
    def source(self) -> str:
        """The file or folder."""
        ...

    @property
    def rows(self) -> int:
        """In the file, those set aside counted."""
        ...

    @property
    def quarantined(self) -> int:
        """Rows that were set aside."""
        ...

    @property
    def note(self) -> str:
        """What was inferred, for people."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with some of them."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def take(self, chosen: np.ndarray) -> Rows:
        """The chosen rows, in the order given."""
        ...


class Medium(Protocol):
    """Texts or images."""

    @property
    def reads(self) -> Reads:
        """Which of the two."""
        ...

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """Labelled rows of one file. like: rows whose columns and classes these share."""
        ...

    def start(self, learn: Rows) -> Start:
        """The model to start from: the one that was named, or fresh weights for these rows."""
        ...

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Rows as the start's model takes them."""
        ...

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """The first `most` records of a corpus without those that stand among the rows apart, and
        how many these are. place: a folder for what does not fit into memory.
        """
        ...

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """Numbers of the first rows that stand among the second, and a sentence about them."""
        ...

    def described(self, learn: Rows, classes: str) -> Phrase:
        """The rows, for the plan."""
        ...

    def digest(self, rows: Rows) -> str:
        """SHA-256 of inputs and labels."""
        ...


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
        [data], text=text.text, image=images.column, reads=wanted, note=events.note
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
    usual = {"tokens_per_batch": IMAGES_PER_STEP * medium.frame.tokens, "epochs": IMAGE_EPOCHS}
    transfer = settings.transfer
    changed = {k: v for k, v in usual.items() if k not in transfer.model_fields_set}
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


@dataclass(frozen=True)
class TextMedium:
    """Tables of texts. written: whether labels may be texts that are to be written."""

    name: str
    loaded: Loaded | None
    settings: TextSettings
    model: ModelSettings
    seed: int
    reads: Reads = "text"
    written: bool = False

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """See `load_labelled`; rows that cannot be read are set aside."""
        chosen, kind = self.settings, self.settings.kind
        text, label, classes = chosen.text, chosen.label, None
        if isinstance(like, Labelled):
            text, label = like.text_column, like.label_column
            kind, classes = like.kind, like.classes or None
        return load_labelled(
            path,
            text=text,
            label=label,
            kind=kind,
            classes=classes,
            encoding=chosen.encoding,
            bad_rows="skip",
            written=self.written,
        )

    def start(self, learn: Rows) -> Start:
        """The folder's model, or fresh weights with a tokenizer trained on the texts."""
        if self.loaded is not None:
            return text_start(self.loaded, self.name)
        if learn.kind == "text":
            return self._writing_start(learn)
        tokenizer = train_tokenizer(
            _texts(learn).texts,
            kind=self.settings.tokenizer,
            vocab_size=self.settings.vocab_size,
            lowercase=self.settings.lowercase,
            style=find(self.model.family).special_tokens,
        )
        vocabulary = vocabulary_of(tokenizer)
        model = fresh_model(
            self.model,
            vocab_size=vocabulary.size,
            max_length=self.settings.max_length,
            seed=self.seed,
        )
        return Start(model, vocabulary, pretrained=False, tokenizer=tokenizer, name=self.name)

    def _writing_start(self, learn: Rows) -> Start:
        """Fresh weights that can write, and a tokenizer that can spell every text."""
        chosen, shape = self.settings, writing_model(self.model)
        assert isinstance(chosen, LabelSettings), "settings of a task whose labels may be texts"
        given = chosen.model_fields_set
        if "tokenizer" not in given:
            chosen = chosen.model_copy(update={"tokenizer": "bpe"})
        if "lowercase" not in given:
            chosen = chosen.model_copy(update={"lowercase": False})
        tokenizer = train_tokenizer(
            [*_texts(learn).texts, *learn.labels],
            kind=chosen.tokenizer,
            vocab_size=chosen.vocab_size,
            lowercase=chosen.lowercase,
            style=find(shape.family).special_tokens,
        )
        vocabulary = vocabulary_of(tokenizer)
        both = ARRANGEMENTS.get(shape.family) == ("encoder-decoder",)
        model = fresh_model(
            shape,
            vocab_size=vocabulary.size,
            max_length=(max if both else sum)((chosen.max_length, chosen.target_length)),
            seed=self.seed,
            causal=None if both else True,
        )
        return Start(model, vocabulary, pretrained=False, tokenizer=tokenizer, name=self.name)

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Tokens of whole texts."""
        assert start.tokenizer is not None, "a start of texts has a tokenizer"
        return encode(start.tokenizer, _texts(rows).texts)

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """Read from the files, never held whole."""
        corpus = Corpus(paths, encoding=self.settings.encoding, bad_rows="skip")
        leaks = find_leaks(corpus, test=[text for part in apart for text in _texts(part).texts])
        pool = pool_of_texts(corpus.without(leaks.drop), str(paths[0]), most=most)
        return pool, len(leaks.drop)

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """See `find_leaks`."""
        found = find_leaks(test=_texts(test).texts, train=_texts(learn).texts)
        return np.asarray(sorted(found.train_drop), dtype=np.int64), str(found)

    def described(self, learn: Rows, classes: str) -> Phrase:
        """With the columns' names."""
        mine = _texts(learn)
        return say(
            "plan_labels",
            rows=len(mine),
            text=mine.text_column,
            label=mine.label_column,
            classes=classes,
        )

    def digest(self, rows: Rows) -> str:
        """Of texts and labels."""
        sha = hashlib.sha256(b"" if rows.kind == "text" else rows.labels.tobytes())
        for text in (*_texts(rows).texts, *(rows.labels if rows.kind == "text" else ())):
            sha.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return sha.hexdigest()


class ImageMedium:
    """Folders and tables of images, brought to the model's size as they are read."""

    reads: Reads = "images"

    def __init__(
        self,
        data: Path,
        name: str,
        loaded: Loaded | None,
        text: TextSettings,
        images: PictureSettings,
        model: ModelSettings,
        seed: int,
        events: Events,
    ):
        """Raises InputError if the model that was named reads text, or there is no image."""
        if loaded is not None and loaded.pixels is None:
            raise InputError(f"{data} holds images, but the model of {name} reads text")
        refuse_text(data, text.text)
        if text.kind == "text":
            raise InputError(
                f"{data} holds images, but data.kind text is for texts that follow texts: leave it "
                "out"
            )
        self.data, self.settings, self.images, self.events = data, text, images, events
        side = 0 if loaded is not None else usual_side(data, image=images.column)
        shape = image_family(model, data)
        net, self.frame = image_model(shape, images, loaded, side=side, seed=seed)
        heads = {} if loaded is None else loaded.heads
        self.origin = Start(net, self.frame, heads, pretrained=loaded is not None, name=name)

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """See `load_labelled_images`; damaged images are set aside."""
        kind: Kind | Literal["auto"] = self.settings.kind if like is None else like.kind
        return load_labelled_images(
            path,
            side=self.frame.image_size,
            image=self.images.column,
            label=self.settings.label,
            kind=kind,
            classes=None if like is None else like.classes or None,
            progress=lambda done, most: self.events.progress("decode", done, most),
        )

    def start(self, learn: Rows) -> Start:
        """The folder's model at the size asked for, or fresh weights."""
        return self.origin

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Pixels, numbered as the rows are."""
        assert isinstance(start.frame, PixelFrame), "a start of images"
        return pixel_sequences(_pictures(rows).images.pixels, start.frame)

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """Decoded into the folder `place`."""
        images = load_images(
            paths,
            side=self.frame.image_size,
            place=place,
            progress=lambda done, most: self.events.progress("decode", done, most),
        )
        found = (find_image_leaks(images, test=_pictures(part).images) for part in apart)
        drop = frozenset[int]().union(*(leaks.drop for leaks in found))
        return pool_of_images(images, drop, str(paths[0]), most=most), len(drop)

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """See `find_image_leaks`."""
        found = find_image_leaks(test=_pictures(test).images, train=_pictures(learn).images)
        return np.asarray(sorted(found.train_drop), dtype=np.int64), str(found)

    def described(self, learn: Rows, classes: str) -> Phrase:
        """How many there are."""
        return say("plan_image_labels", rows=len(learn), classes=classes)

    def digest(self, rows: Rows) -> str:
        """Of the images' files and labels; their size is the model's."""
        mine = _pictures(rows)
        sha = hashlib.sha256(mine.labels.tobytes())
        sha.update(np.ascontiguousarray(mine.images.digests).tobytes())
        return sha.hexdigest()


def demand_classes(labelled: Rows) -> None:
    """Raise InputError if self-training is asked for with labels that are no classes."""
    if labelled.kind != "classes":
        raise InputError(
            f"{labelled.source}: transfer.self_training is for labels that are classes, but these "
            f"are {labelled.kind}: leave it out, or say what they are with data.kind"
        )


def pool_of_texts(corpus: Corpus, source: str, *, most: int) -> Labelled:
    """The first texts of a corpus as rows that have no labels yet."""
    texts = list(islice(corpus.texts(), most))
    nothing = np.zeros(len(texts), dtype=np.int64)
    return Labelled(texts, nothing, "classes", [], "", "", source, nothing)


def pool_of_images(
    images: Images, drop: frozenset[int], source: str, *, most: int
) -> LabelledImages:
    """The first images but for the dropped ones as rows that have no labels yet."""
    kept = np.setdiff1d(np.arange(len(images)), np.fromiter(drop, np.int64))[:most]
    nothing = np.zeros(len(kept), dtype=np.int64)
    return LabelledImages(images.take(kept), nothing, "classes", (), source)


def text_start(loaded: Loaded, name: str) -> Start:
    """A start from a folder of a model that reads text."""
    refuse_towers(loaded.model, name)
    tokenizer = tokenizer_of(loaded, name)
    vocabulary = vocabulary_of(tokenizer)
    return Start(loaded.model, vocabulary, loaded.heads, tokenizer=tokenizer, name=name)


def tokenizer_of(start: Loaded, name: str) -> Tokenizer:
    """The tokenizer of a checkpoint. Raises InputError if it has none."""
    if start.tokenizer is None:
        raise InputError(f"{name} has no tokenizer.json, so its model cannot be given text")
    folder = start.tokenizer.parent
    return demand_ids(load_tokenizer(folder), folder, size=start.model.config.vocab_size)


def writing_model(model: ModelSettings) -> ModelSettings:
    """The settings with a family that writes where none was given."""
    if "family" in model.model_fields_set:
        return model
    return model.model_copy(update={"family": WRITING_FAMILY})


def _texts(rows: Rows) -> Labelled:
    assert isinstance(rows, Labelled), "rows of a medium of texts"
    return rows


def _pictures(rows: Rows) -> LabelledImages:
    assert isinstance(rows, LabelledImages), "rows of a medium of images"
    return rows
