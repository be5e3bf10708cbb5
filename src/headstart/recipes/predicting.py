"""`headstart predict`: answers of a fine-tuned model for texts, or for the texts in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.data.files import TABLE_SUFFIXES, TEXT_SUFFIXES, read_documents
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.recipes.evaluating import opened
from headstart.recipes.results import Prediction, Predictions
from headstart.serve.predict import Predictor

LONGEST_PATH = 4096  # characters; a longer input is a text


def predict(
    model: str | Predictor | None,
    inputs: Sequence[str],
    *,
    text: str | None = None,
    events: Events | None = None,
) -> Predictions:
    """Answer each input in order; an input that names a data file stands for the texts in it.

    model: as in `evaluate`. text: the column of tables. Raises InputError if there is no text, or
    the model has learnt no task.
    """
    listener = events or Silent()
    texts = [found for item in inputs for found in _texts(item, text, listener)]
    if not texts:
        raise InputError("there is no text to answer for: give texts, or files that hold some")
    predictor = opened(model)
    scores = predictor.scores(
        texts, progress=lambda done, total: listener.progress("predict", done, total)
    )
    answers = predictor.name(scores)
    return Predictions(
        [Prediction(t, a.label, a.share) for t, a in zip(texts, answers, strict=True)]
    )


def _texts(item: str, column: str | None, events: Events) -> Iterator[str]:
    if not _is_file(item):
        yield item
        return
    for found in read_documents([item], text=column):
        if isinstance(found, Problem):
            if found.outcome == "reject":
                raise InputError(str(found))
            events.note(str(found))
        else:
            yield found.text


def _is_file(item: str) -> bool:
    """Whether an input names a data file; a suffix without a file is a slip worth a message."""
    if len(item) > LONGEST_PATH or "\n" in item or "\0" in item:
        return False
    known = item.lower().removesuffix(".gz").endswith((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
    if not known:
        return False
    if Path(item).is_file():
        return True
    if " " in item.strip():
        return False
    raise InputError(f"{item} does not exist. Check the path, or quote the text to answer for.")
