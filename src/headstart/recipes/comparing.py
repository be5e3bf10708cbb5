"""`headstart compare`: two models on the same rows, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.config import AS_FOUND, FinetuneSettings, ReadSettings
from headstart.errors import HeadstartError, InputError
from headstart.evaluate.metrics import default_metric, score
from headstart.evaluate.resampling import difference_interval
from headstart.evaluate.wording import LEADING, rouge_difference
from headstart.events import Events, Silent
from headstart.families import resolve
from headstart.recipes.evaluating import answers_of, opened, read_for, read_texts
from headstart.recipes.medium import Rows
from headstart.recipes.results import Comparison
from headstart.serve.author import Author
from headstart.serve.predict import Predictor
from headstart.settings_file import make_settings
from headstart.train import RunFolder
from headstart.words import say


@dataclass(frozen=True)
class _Test:
    """The labelled file, its columns, and how it is read."""

    path: Path
    text: str | None = None
    label: str | None = None
    read: ReadSettings = AS_FOUND


def compare(
    first: str | None,
    second: str | None,
    *,
    test: str | None = None,
    text: str | None = None,
    label: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> Comparison:
    """Compare two fine-tuned models row by row.

    test: the labelled file; without one, the test file that both runs were made with. text, label:
    its columns, where their names do not tell.
    read: how it is read; of the common test file, if other than the first run read it.
    Raises InputError if there is none, or if the models answer with different classes.
    """
    listener = events or Silent()
    if not first or not second:
        raise InputError("two models are needed: headstart compare runs/a runs/b --test test.csv")
    file = _Test(Path(test), read=read) if test else _common_test(first, second, read)
    file = replace(file, text=text or file.text, label=label or file.label)
    both = [opened(resolve(name)) for name in (first, second)]
    authors = [one for one in both if isinstance(one, Author)]
    models = [one for one in both if isinstance(one, Predictor)]
    if len(authors) == 1:
        raise InputError(
            f"{first} and {second} answer different questions: one writes texts, the other does not"
        )
    if authors:
        return _compare_texts((first, second), authors, file, listener)
    kinds = [(model.fitted.kind, tuple(model.classes)) for model in models]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"{first} and {second} answer different questions: "
            + " and ".join(f"{kind} ({', '.join(names[:5])})" for kind, names in kinds)
        )
    examples = _rows(models[0], file, listener)
    answers = [answers_of(models[0], examples, events=listener)]
    if models[1].reads_images:  # perhaps at another size
        examples = _rows(models[1], file, Silent())
    answers.append(answers_of(models[1], examples, events=listener))
    kind, gold = examples.kind, examples.labels
    if kind == "multilabel":
        gold = gold.astype("int64")
    metric = default_metric(gold, kind=kind)
    values = [score(one, gold, kind=kind, metric=metric).value for one in answers]
    interval = difference_interval(answers[0], answers[1], gold, kind=kind, metric=metric)
    ends = (interval.low, interval.high)
    return _comparison((first, second), metric, values, ends, len(examples))


def _rows(model: Predictor, file: _Test, events: Events) -> Rows:
    """The rows of the test file in the classes of a model."""
    return read_for(
        model,
        [file.path],
        text=file.text,
        label=file.label,
        read=file.read,
        events=events,
    )


def _compare_texts(
    names: tuple[str, str], authors: Sequence[Author], file: _Test, events: Events
) -> Comparison:
    rows = read_texts([file.path], text=file.text, label=file.label, read=file.read, events=events)
    written = [author.write(rows.texts) for author in authors]
    one, two, gap = rouge_difference(written[0], written[1], rows.labels.tolist())
    values = [one.value, two.value]
    return _comparison(names, LEADING, values, (gap.low, gap.high), len(rows))


def _comparison(
    names: tuple[str, str],
    metric: str,
    values: Sequence[float],
    ends: tuple[float, float],
    rows: int,
) -> Comparison:
    """Two scores and the interval of the second minus the first, with what it means."""
    key = "compare_alike"
    if ends[0] > 0:
        key = "compare_second"
    elif ends[1] < 0:
        key = "compare_first"
    return Comparison(
        first=names[0],
        second=names[1],
        metric=metric,
        first_score=values[0],
        second_score=values[1],
        difference=values[1] - values[0],
        low=ends[0],
        high=ends[1],
        verdict=say(key, first=names[0], second=names[1], rows=rows),
    )


def _common_test(first: str, second: str, read: ReadSettings) -> _Test:
    """The test file that both runs name in run.yaml, read as the first one does but for `read`."""
    found = [_settings_of(Path(name)) for name in (first, second)]
    tests = [None if one is None else one.test for one in found]
    if found[0] is None or tests[0] is None or tests[0] != tests[1]:
        raise InputError(
            f"{first} and {second} name no common test file: give one with --test test.csv"
        )
    how = found[0]
    given = {
        "data.encoding": read.data.encoding or how.data.encoding,
        "images.column": read.images.column or how.images.column,
    }
    both = make_settings(ReadSettings, given=given)
    return _Test(Path(tests[0]), how.data.text, how.data.label, both)


def _settings_of(run: Path) -> FinetuneSettings | None:
    path = RunFolder(run).settings
    try:
        return make_settings(FinetuneSettings, file=path) if path.is_file() else None
    except HeadstartError:
        return None  # a run of another verb has no test file of its own
