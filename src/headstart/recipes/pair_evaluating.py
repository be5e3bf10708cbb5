"""What a model of two towers can do: find captions and images, name classes it never learnt.

`evaluate` with a table of images and captions measures retrieval, with labelled images zero-shot
classification by the labels' names; `predict` answers each image with the best of some texts, or
orders images by one text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.config import AS_FOUND, ReadSettings
from headstart.data.files import is_table
from headstart.data.image_columns import is_image_name
from headstart.data.image_files import find_images
from headstart.data.image_kind import holds_images
from headstart.data.image_leaks import find_image_leaks
from headstart.data.images import load_images, load_labelled_images
from headstart.data.pairs import load_pairs
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.evaluate.colour_baseline import ColourBaseline
from headstart.evaluate.towers import Towers
from headstart.evaluate.zero_shot import class_vectors
from headstart.events import Events
from headstart.recipes.evaluating import measured
from headstart.recipes.naming import names_path
from headstart.recipes.pair_pretraining import measure, read_learnt, tell_cut
from headstart.recipes.results import Measured, Prediction, Predictions, Retrieved
from headstart.recipes.telling import tell

EXAMPLE = 'headstart predict RUN photo.jpg "a red shoe" "a blue shirt"'


@dataclasses.dataclass(frozen=True, eq=False)
class PairModel:
    """A model of two towers, loaded once. name: as it was asked for."""

    name: str
    towers: Towers


def evaluate_pairs(
    model: PairModel,
    data: Sequence[Path],
    *,
    text: str | None = None,
    label: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events,
) -> Measured | Retrieved:
    """Retrieval where the images have captions, zero-shot classification where they have labels.

    text: column of captions; label: of labels, which decides for classification. read: how
    tables are read.
    """
    image, encoding = read.images.column, read.data.encoding
    if not holds_images(data, image=image, reads="images", encoding=encoding):
        raise InputError(
            f"{data[0]} holds text, but the model of {model.name} compares images with texts: give "
            "images with captions, or with labels"
        )
    towers = model.towers
    sources = find_images(data, image=image, label=label, caption=text, encoding=encoding)
    captioned = all(s.columns is not None and s.columns.caption for s in sources)
    if captioned and label is None:
        run = Path(model.name)
        return _retrieval(towers, run, data, text=text, read=read, events=events)
    return _zero_shot(towers, data, label=label, read=read, events=events)


def _retrieval(
    towers: Towers,
    run: Path,
    data: Sequence[Path],
    *,
    text: str | None,
    read: ReadSettings,
    events: Events,
) -> Retrieved:
    """For a run folder beside colours and words alone, and how many images the run has seen."""
    pairs = load_pairs(
        data,
        side=towers.frame.image_size,
        caption=text,
        image=read.images.column,
        encoding=read.data.encoding,
        progress=lambda done, most: events.progress("decode", done, most),
    )
    _echo(pairs.note, pairs.problems, events)
    pixels, captions = pairs.images.pixels, pairs.images.captions
    tell_cut(towers.tokenizer, [text for each in captions for text in each], towers.model, events)
    found = measure(towers, pixels, captions)
    learnt = read_learnt(run)
    if learnt is None:
        return Retrieved(found)
    leaks = find_image_leaks(test=pairs.images, train=learnt.store)
    events.note(str(leaks))
    events.progress("baseline", 0, 1)
    baseline = ColourBaseline(learnt.store.pixels, learnt.captions, numbers=learnt.numbers)
    events.progress("baseline", 1, 1)
    return Retrieved(found, measure(baseline, pixels, captions), len(leaks.test_rows))


def _zero_shot(
    towers: Towers,
    data: Sequence[Path],
    *,
    label: str | None,
    read: ReadSettings,
    events: Events,
) -> Measured:
    """Classification by the names of the classes, beside always naming the largest one."""
    found = load_labelled_images(
        data,
        side=towers.frame.image_size,
        label=label,
        kind="classes",
        image=read.images.column,
        encoding=read.data.encoding,
        progress=lambda done, most: events.progress("decode", done, most),
    )
    _echo(found.note, found.problems, events)
    vectors = towers.images(
        found.images.pixels, progress=lambda done, most: events.progress("evaluate", done, most)
    )
    answers = (vectors @ class_vectors(towers, found.classes).T).argmax(1)
    result = measured(answers[None], found.labels, kind="classes", classes=found.classes)
    largest = float(np.bincount(found.labels).max() / len(found))
    others = {**result.others, "majority_share": largest, "by_chance": 1 / len(found.classes)}
    return dataclasses.replace(result, others=others)


def predict_pairs(
    model: PairModel, inputs: Sequence[str], *, read: ReadSettings = AS_FOUND, events: Events
) -> Predictions:
    """The best text for each image, with its share among the texts; with one text, all images,
    those it fits best first, with their shares among the images.

    inputs: images, folders or tables of them, and texts.
    """
    paths = [item for item in inputs if _is_images(item)]
    texts = [item for item in inputs if item not in paths]
    if not paths or not texts:
        what = "images" if not paths else "texts"
        raise InputError(f"the inputs hold no {what}, but {model.name} compares both: {EXAMPLE}")
    towers = model.towers
    images = load_images(
        paths,
        side=towers.frame.image_size,
        image=read.images.column,
        encoding=read.data.encoding,
    )
    _echo("; ".join(images.notes), images.problems, events)
    tell_cut(towers.tokenizer, texts, towers.model, events)
    vectors = towers.images(
        images.pixels, progress=lambda done, most: events.progress("predict", done, most)
    )
    scores = towers.factor * vectors @ towers.texts(texts).T
    if len(texts) > 1:
        shares = _softmax(scores)
        best = shares.argmax(1)
        answers = [
            Prediction(origin, texts[n], float(row[n]))
            for origin, n, row in zip(images.origins, best.tolist(), shares, strict=True)
        ]
        return Predictions(answers)
    fits = _softmax(scores.T)[0]
    order = np.argsort(-fits, kind="stable").tolist()
    return Predictions([Prediction(images.origins[n], texts[0], float(fits[n])) for n in order])


def _is_images(item: str) -> bool:
    """Whether an input names images. Raises InputError for a path that leads nowhere, or to a file
    of another kind.
    """
    if not names_path(item):
        return False
    path = Path(item)
    if path.is_dir() or is_image_name(item) or is_table(path):
        return True
    if path.suffix:
        raise InputError(f"{item} is a file, but none of images: give images or tables of them")
    return False


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(1, keepdims=True)
    return shares


def _echo(note: str, problems: Sequence[Problem], events: Events) -> None:
    events.note(note)
    tell(problems, events)
