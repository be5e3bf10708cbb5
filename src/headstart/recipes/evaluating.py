"""`headstart evaluate`: the score of a fine-tuned model on a labelled file, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.config import AS_FOUND, ReadSettings
from headstart.data.dataset import Labelled, load_labelled
from headstart.data.images import LabelledImages, load_labelled_images
from headstart.data.labels import Kind
from headstart.errors import InputError
from headstart.evaluate.metrics import Metric, default_metric, score
from headstart.evaluate.resampling import score_interval
from headstart.events import Events, Silent
from headstart.recipes.image_building import refuse_images, refuse_text
from headstart.recipes.medium import Rows
from headstart.recipes.results import Measured
from headstart.recipes.telling import echo
from headstart.recipes.wording import measured_texts
from headstart.serve.author import Author
from headstart.serve.predict import Predictor


def evaluate(
    predictor: Predictor | Author,
    data: Sequence[Path],
    *,
    text: str | None = None,
    label: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> Measured:
    """Score a model on one labelled file.

    read: how the file is read.
    Raises InputError if the file cannot be read or holds a label that the model does not know.
    """
    listener = events or Silent()
    if isinstance(predictor, Author):
        rows = read_texts(data, text=text, label=label, read=read, events=listener)
        return measured_texts([predictor], rows, listener)
    examples = read_for(predictor, data, text=text, label=label, read=read, events=listener)
    answers = answers_of(predictor, examples, events=listener)
    return measured(answers[None], examples.labels, kind=examples.kind, classes=examples.classes)


def opened(folder: Path) -> Predictor | Author:
    """The model of a folder that `resolve` gave. Raises InputError if it has learnt no task."""
    return Author.at(folder) or Predictor.at(folder)


def read_texts(
    data: Sequence[Path],
    *,
    text: str | None,
    label: str | None,
    read: ReadSettings,
    events: Events,
) -> Labelled:
    """One file of texts and of what is to be written after each."""
    refuse_images(read)
    found = load_labelled(
        one_file(data),
        text=text,
        label=label,
        kind="text",
        encoding=read.data.encoding,
        bad_rows="skip",
        written=True,
    )
    echo(found, events)
    return found


def one_file(data: Sequence[Path]) -> Path:
    """The only one. Raises InputError if there are more, or none."""
    if len(data) != 1:
        raise InputError(f"give one labelled file, not {len(data)}: {', '.join(map(str, data))}")
    return data[0]


def read_for(
    predictor: Predictor,
    data: Sequence[Path],
    *,
    text: str | None,
    label: str | None,
    read: ReadSettings,
    events: Events,
) -> Rows:
    """One labelled file or folder in the classes of a model."""
    source = one_file(data)
    kind, classes = predictor.fitted.kind, predictor.classes or None
    examples: Rows
    if predictor.reads_images:
        refuse_text(source, text)
        examples = load_labelled_images(
            source,
            side=predictor.frame_of_images.image_size,
            image=read.images.column,
            label=label,
            kind=kind,
            classes=classes,
            encoding=read.data.encoding,
            progress=lambda done, most: events.progress("decode", done, most),
        )
    else:
        refuse_images(read)
        examples = load_labelled(
            source,
            text=text,
            label=label,
            kind=kind,
            classes=classes,
            encoding=read.data.encoding,
            bad_rows="skip",
        )
    echo(examples, events)
    return examples


def answers_of(predictor: Predictor, examples: Rows, *, events: Events) -> np.ndarray:
    """A model's labels for these rows, in the form of gold labels."""

    def progress(done: int, total: int) -> None:
        events.progress("evaluate", done, total)

    if isinstance(examples, LabelledImages):
        scores = predictor.scores_of(examples.images.pixels, progress=progress)
    else:
        assert isinstance(examples, Labelled), "rows of texts"
        scores = predictor.scores(examples.texts, progress=progress)
    return predictor.fitted.task.answers(scores)


def measured(
    answers: np.ndarray,
    gold: np.ndarray,
    *,
    kind: Kind,
    classes: Sequence[str],
    metric: Metric | None = None,
) -> Measured:
    """Mean score over seeds with its 95 % interval, and each class.

    answers: (seeds, rows) or (seeds, rows, labels). gold: (rows,) or (rows, labels).
    """
    chosen = metric or default_metric(gold, kind=kind)
    wanted = gold.astype(np.int64) if kind == "multilabel" else gold
    each = [score(one, wanted, kind=kind, metric=chosen, classes=classes) for one in answers]
    interval = score_interval(answers, wanted, kind=kind, metric=chosen)
    return Measured(
        metric=chosen,
        score=float(np.mean([one.value for one in each])),
        low=interval.low,
        high=interval.high,
        rows=len(gold),
        per_class={
            name: float(np.mean([one.per_class[name] for one in each]))
            for name in each[0].per_class
        },
        others={
            name: float(np.mean([one.others[name] for one in each])) for name in each[0].others
        },
    )
