"""What a report of texts and one of images do not have in common.

In: a `Medium` and the report's settings. Out: a `Ground`: the unlabelled side with what leaks,
pretraining on it, and the control arms. Everything else of a report is the same for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from headstart.config import PretrainSettings, ReportSettings
from headstart.data.corpus import Corpus, column_of_all
from headstart.data.dataset import Labelled
from headstart.data.image_leaks import ImageLeakReport, find_image_leaks
from headstart.data.images import Images, LabelledImages
from headstart.data.leaks import LeakReport, find_leaks
from headstart.data.patches import PixelFrame
from headstart.data.store import TokenStore
from headstart.evaluate.baselines import Features, LsaFeatures, TextFeatures, TfidfFeatures
from headstart.evaluate.image_baselines import centred, hog_features, pixel_features
from headstart.evaluate.transfer import Start
from headstart.events import Events
from headstart.families import load_model
from headstart.recipes.choosing import pretrain as pretrain_either
from headstart.recipes.image_building import image_start
from headstart.recipes.image_medium import ImageMedium, pool_of_images
from headstart.recipes.image_pretraining import for_images, pretrain_images, read_images
from headstart.recipes.medium import Medium, Rows, demand_classes
from headstart.recipes.same_cells import corpus_digest
from headstart.recipes.text_medium import TextMedium, pool_of_texts, text_start
from headstart.report.arms import Contestant, Linear, Making, Neighbours
from headstart.report.cells import Arm
from headstart.report.report import Leaks
from headstart.tasks import Kind

Made = TypeVar("Made")

MOST_POOL = 5_000  # records for self-training, whose features every arm computes
MOST_CORPUS_TEXTS = 100_000  # that the bag-of-words controls are fitted on

TFIDF = Arm("tfidf", "control", "TF-IDF + linear", "TF-IDF + 线性")
LSA = Arm("lsa", "control", "LSA + linear", "LSA + 线性")
PIXELS = Arm("pixels", "control", "Pixels + linear", "像素 + 线性")
NEIGHBOURS = Arm("pixels-neighbours", "control", "Pixels + neighbours", "像素 + 最近邻")
HOG = Arm("hog", "control", "HOG + linear", "HOG + 线性")
OWN_WORDS = Arm("own-probe+lsa", "own", "Own, frozen + LSA", "自有模型，冻结 + LSA")


@dataclass(frozen=True)
class Found:
    """Leaks. drop: numbers of corpus records; train_drop: of training rows. said: for people."""

    drop: frozenset[int]
    train_drop: frozenset[int]
    summary: Leaks
    said: str

    @staticmethod
    def of(found: LeakReport | ImageLeakReport) -> Found:
        """What was found, counted for the page."""
        exact = found.corpus.get("exact", 0)
        summary = Leaks(
            exact=exact,
            near=sum(found.corpus.values()) - exact,
            train_test=len(found.train_drop),
            removed=len(found.drop),
        )
        return Found(found.drop, found.train_drop, summary, str(found))


class Ground(Protocol):
    """The unlabelled side of a report, and the arms that need no network.

    text: the column that is read of the corpus' tables; None: it is found.
    """

    text: str | None

    def leaks(self, train: Rows, test: Rows) -> Found:
        """What of the test rows is in the corpus or among the training rows; the corpus is kept
        without it.
        """
        ...

    def corpus_digest(self) -> str:
        """Of all that the corpus holds, leaks too; only once `leaks` has read it."""
        ...

    def pretrain(self, settings: PretrainSettings, events: Events) -> tuple[float, int, int]:
        """Pretrain on the corpus; seconds, records and tokens of it."""
        ...

    def start(self, folder: Path, name: str) -> Start:
        """A pretrained model from its folder."""
        ...

    def fitting(self, start: Start) -> Start:
        """The same start, taking rows as they were read for another one."""
        ...

    def controls(self, train: Rows, test: Rows, events: Events) -> list[Contestant]:
        """The arms without a network, their features made."""
        ...

    def pool(self, train: Rows) -> Rows | None:
        """Unlabelled records for self-training, where that is asked for."""
        ...

    def beside(self, frozen: Sequence[np.ndarray], making: Making, kind: Kind) -> list[Contestant]:
        """Arms that set a control's features beside those of the frozen network."""
        ...


def ground_of(medium: Medium, settings: ReportSettings, folder: Path, events: Events) -> Ground:
    """The ground for a medium. folder: of the report."""
    if isinstance(medium, ImageMedium):
        return ImageGround(medium, settings, folder, events)
    assert isinstance(medium, TextMedium), "there are two media"
    return TextGround(settings)


def linear(
    arm: Arm, sides: Sequence[Features], kind: Kind, settings: ReportSettings, making: Making
) -> Linear:
    """A linear arm from its features of training rows, test rows and perhaps a pool."""
    how = settings.transfer
    return Linear(
        arm,
        sides[0],
        sides[1],
        kind,
        balanced=how.balanced,
        pool=sides[2] if len(sides) > 2 else None,
        rounds=how.self_training,
        making=making,
    )


def timed(make: Callable[[], Made]) -> tuple[Made, float]:
    """What a function gives, and the seconds that it took."""
    begin = time.perf_counter()
    made = make()
    return made, time.perf_counter() - begin


def _each(transform: Callable[[list[str]], Features], sides: Sequence[list[str]]) -> list[Features]:
    return [transform(texts) for texts in sides]


class TextGround:
    """Unlabelled texts; TF-IDF and LSA as controls.

    Tables of the corpus that have the columns of the labelled texts are read as these are.
    """

    def __init__(self, settings: ReportSettings):
        self.settings = settings
        named, encoding = settings.data.text, settings.data.encoding
        self.text = column_of_all(settings.corpus, named, encoding=encoding)
        self.found: LeakReport | None = None
        self.corpus: Corpus | None = None
        self._pool: Labelled | None = None
        self._lsa: list[np.ndarray] = []
        self._lsa_making = Making()

    def leaks(self, train: Rows, test: Rows) -> Found:
        """See `find_leaks`."""
        assert isinstance(train, Labelled), "rows of texts"
        assert isinstance(test, Labelled), "rows of texts"
        corpus = None
        if self.settings.corpus:
            encoding = self.settings.data.encoding
            paths = self.settings.corpus
            corpus = Corpus(paths, text=self.text, encoding=encoding, bad_rows="skip")
        found = self.found = find_leaks(corpus, test=test.texts, train=train.texts)
        self.corpus = None if corpus is None else corpus.without(found.drop)
        return Found.of(found)

    def corpus_digest(self) -> str:
        """Of its files."""
        return corpus_digest(self.settings.corpus)

    def pretrain(self, settings: PretrainSettings, events: Events) -> tuple[float, int, int]:
        """As the verb does, without what leaks."""
        paths = [Path(path) for path in settings.data.paths]
        made = pretrain_either(paths, settings=settings, events=events, leaks=self.found)
        tokens = TokenStore.open(made.folder / "tokens")
        return made.seconds, len(tokens), len(tokens.tokens)

    def start(self, folder: Path, name: str) -> Start:
        """With its tokenizer."""
        return text_start(load_model(folder), name)

    def fitting(self, start: Start) -> Start:
        """Texts are encoded anew for each model."""
        return start

    def pool(self, train: Rows) -> Rows | None:
        """Texts of the corpus, which all linear arms get alike."""
        if self._pool is None and self.settings.transfer.self_training:
            demand_classes(train)
            assert self.corpus is not None, "the settings demand a corpus"
            self._pool = pool_of_texts(self.corpus, train.source, most=MOST_POOL)
        return self._pool

    def controls(self, train: Rows, test: Rows, events: Events) -> list[Contestant]:
        """Fitted on the corpus and the training texts together."""
        assert isinstance(train, Labelled), "rows of texts"
        assert isinstance(test, Labelled), "rows of texts"
        unlabelled = list(train.texts)
        if self.corpus is not None and self.found is not None:
            step = -(-self.found.documents // MOST_CORPUS_TEXTS)  # from all of it, not its begin
            unlabelled += islice(self.corpus.texts(), 0, None, max(1, step))
        pool = self.pool(train)
        sides = [train.texts, test.texts, *([pool.texts] if isinstance(pool, Labelled) else [])]
        makers: list[tuple[Arm, Callable[[list[str]], TextFeatures]]] = [
            (TFIDF, TfidfFeatures),
            (LSA, LsaFeatures),
        ]
        arms: list[Contestant] = []
        for number, (arm, maker) in enumerate(makers, 1):
            maps, fit_s = timed(partial(maker, unlabelled))
            made, seconds = timed(partial(_each, maps.transform, sides))
            making = Making(fit_s, seconds / sum(map(len, sides)))
            if arm is LSA:
                self._lsa, self._lsa_making = [np.asarray(side) for side in made], making
            arms.append(linear(arm, made, train.kind, self.settings, making))
            events.progress("features", number, 4)
        return arms

    def beside(self, frozen: Sequence[np.ndarray], making: Making, kind: Kind) -> list[Contestant]:
        """LSA beside the network's features."""
        pairs = [np.hstack(pair) for pair in zip(frozen, self._lsa, strict=True)]
        return [linear(OWN_WORDS, pairs, kind, self.settings, making + self._lsa_making)]


class ImageGround:
    """Unlabelled images; pixels, nearest neighbours and HOG as controls."""

    text: str | None = None

    def __init__(self, medium: ImageMedium, settings: ReportSettings, folder: Path, events: Events):
        self.medium, self.settings, self.events = medium, settings, events
        self.place = folder / "corpus-images"
        self.corpus: Images | None = None
        self.drop: frozenset[int] = frozenset()
        self._pool: LabelledImages | None = None

    def leaks(self, train: Rows, test: Rows) -> Found:
        """See `find_image_leaks`; the corpus is decoded once, into the report's folder."""
        assert isinstance(train, LabelledImages), "rows of images"
        assert isinstance(test, LabelledImages), "rows of images"
        if self.settings.corpus:
            paths = [Path(path) for path in self.settings.corpus]
            columns = self.settings.images.model_copy(update={"column": None})
            frame = self.medium.frame
            encoding = self.settings.data.encoding
            self.corpus = read_images(
                paths, columns, self.place, frame, self.events, encoding=encoding
            )
        found = find_image_leaks(self.corpus, test=test.images, train=train.images)
        self.drop = found.drop
        return Found.of(found)

    def corpus_digest(self) -> str:
        """Of the images, wherever a table finds them."""
        if self.corpus is None:
            return ""
        assert self.corpus.store is not None, "the corpus lies in the report's folder"
        return self.corpus.store.digest

    def pretrain(self, settings: PretrainSettings, events: Events) -> tuple[float, int, int]:
        """At the size at which the task's images are read."""
        paths = [Path(path) for path in settings.data.paths]
        made = pretrain_images(
            paths,
            settings=for_images(settings, paths),
            events=events,
            images=self.corpus,
            left_out=self.drop,
        )
        assert self.corpus is not None, "pretraining needs a corpus"
        return made.seconds, len(self.corpus) - len(self.drop), 0

    def start(self, folder: Path, name: str) -> Start:
        """At the model's own size."""
        return image_start(load_model(folder), name)

    def fitting(self, start: Start) -> Start:
        """Images that were read for one model are brought to the size of another."""
        frame = start.frame
        assert isinstance(frame, PixelFrame), "a start of images"
        return replace(start, frame=replace(frame, fit=True))

    def pool(self, train: Rows) -> Rows | None:
        """Images of the corpus, which all linear arms get alike."""
        if self._pool is None and self.settings.transfer.self_training:
            demand_classes(train)
            assert self.corpus is not None, "the settings demand a corpus"
            self._pool = pool_of_images(self.corpus, self.drop, train.source, most=MOST_POOL)
        return self._pool

    def controls(self, train: Rows, test: Rows, events: Events) -> list[Contestant]:
        """From the pixels alone."""
        assert isinstance(train, LabelledImages), "rows of images"
        assert isinstance(test, LabelledImages), "rows of images"
        pool = self.pool(train)
        rows = [train, test, *([pool] if isinstance(pool, LabelledImages) else [])]
        sides = [some.images.pixels for some in rows]
        rows_made = sum(map(len, sides))
        pixels, seconds = timed(lambda: centred(*(pixel_features(side) for side in sides)))
        of_pixels = Making(row_s=seconds / rows_made)
        events.progress("features", 1, 4)
        gradients, seconds = timed(lambda: centred(*(hog_features(side) for side in sides)))
        of_gradients = Making(row_s=seconds / rows_made)
        events.progress("features", 2, 4)
        return [
            linear(PIXELS, pixels, train.kind, self.settings, of_pixels),
            Neighbours(NEIGHBOURS, pixels[0], pixels[1], train.kind, making=of_pixels),
            linear(HOG, gradients, train.kind, self.settings, of_gradients),
        ]

    def beside(self, frozen: Sequence[np.ndarray], making: Making, kind: Kind) -> list[Contestant]:
        """None: the best layer is chosen instead."""
        return []
