"""`headstart predict`: answers of a fine-tuned model for texts or images, or for those in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from headstart.config import AS_FOUND, ReadSettings
from headstart.data.files import read_documents
from headstart.data.images import Images, load_images
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.recipes.image_building import refuse_images, refuse_text
from headstart.recipes.naming import names_path
from headstart.recipes.results import Prediction, Predictions
from headstart.recipes.telling import tell
from headstart.serve.author import Author
from headstart.serve.predict import Predictor
from headstart.words import say


def predict(
    predictor: Predictor | Author,
    inputs: Sequence[str],
    *,
    text: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> Predictions:
    """Answer each input in order; one that names a file or folder stands for the texts in it.

    With a model of images, inputs are files, folders and tables of images, and
    each answer names its image. text: the column of tables. read: how files are
    read.
    Raises InputError if there is nothing to answer for, or the model has learnt no task.
    """
    listener = events or Silent()

    def progress(done: int, total: int) -> None:
        listener.progress("predict", done, total)

    if isinstance(predictor, Author):
        named = _all_texts(inputs, text, read, listener)
        tell_long(predictor.too_long(named), predictor.writing.room.source, listener)
        written = predictor.write(named, progress=progress)
        return Predictions([Prediction(t, w) for t, w in zip(named, written, strict=True)])
    if predictor.reads_images:
        found = _images(predictor, inputs, text, read, listener)
        named = list(found.origins)
        scores = predictor.scores_of(found.pixels, progress=progress)
    else:
        named = _all_texts(inputs, text, read, listener)
        scores = predictor.scores(named, progress=progress)
    answers = predictor.name(scores)
    return Predictions(
        [Prediction(t, a.label, a.share) for t, a in zip(named, answers, strict=True)]
    )


def tell_long(lengths: np.ndarray, most: int, events: Events) -> None:
    """Say how many texts are read up to `most` tokens only; lengths: 0 for those that are not."""
    if lengths.any():
        events.note(
            say(
                "inputs_cut",
                count=int((lengths > 0).sum()),
                rows=len(lengths),
                most=most,
                longest=int(lengths.max()),
                number=int(lengths.argmax()) + 1,
            )
        )


def _images(
    predictor: Predictor,
    inputs: Sequence[str],
    text: str | None,
    read: ReadSettings,
    events: Events,
) -> Images:
    """All images of the files, folders and tables, brought to the model's size."""
    if not inputs:
        raise InputError("there is no image to answer for: give image files, folders or tables")
    refuse_text(Path(inputs[0]), text)
    found = load_images(
        list(inputs),
        side=predictor.frame_of_images.image_size,
        image=read.images.column,
        encoding=read.data.encoding,
        progress=lambda done, most: events.progress("decode", done, most),
    )
    tell(found.problems, events)
    return found


def _all_texts(
    inputs: Sequence[str], column: str | None, read: ReadSettings, events: Events
) -> list[str]:
    """The texts, and those in the files. Raises InputError if there is none."""
    refuse_images(read)
    found = [each for item in inputs for each in _texts(item, column, read.data.encoding, events)]
    if not found:
        raise InputError("there is no text to answer for: give texts, or files that hold some")
    return found


def _texts(item: str, column: str | None, encoding: str | None, events: Events) -> Iterator[str]:
    if not names_path(item):
        yield item
        return
    count = 0
    for found in read_documents([item], text=column, encoding=encoding):
        if isinstance(found, Problem):
            if found.outcome == "reject":
                raise InputError(str(found))
            events.note(str(found))
        else:
            count += 1
            yield found.text
    if Path(item).is_dir():
        events.note(say("texts_of_folder", folder=item, count=count))
