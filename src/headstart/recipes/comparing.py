"""`headstart compare`: two models on the same rows, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.config import FinetuneSettings
from headstart.errors import HeadstartError, InputError
from headstart.evaluate.metrics import default_metric, score
from headstart.evaluate.resampling import difference_interval
from headstart.evaluate.wording import LEADING, rouge_difference
from headstart.events import Events, Silent
from headstart.recipes.evaluating import answers_of, read_for, read_texts
from headstart.recipes.results import Comparison
from headstart.serve.author import Author
from headstart.serve.predict import Predictor
from headstart.settings_file import make_settings
from headstart.train import RunFolder
from headstart.words import say


def compare(
    first: str | None,
    second: str | None,
    *,
    test: str | None = None,
    events: Events | None = None,
) -> Comparison:
    """Compare two fine-tuned models row by row.

    test: the labelled file; without one, the test file that both runs were made with.
    Raises InputError if there is none, or if the models answer with different classes.
    """
    listener = events or Silent()
    if not first or not second:
        raise InputError("two models are needed: headstart compare runs/a runs/b --test test.csv")
    data = Path(test or _common_test(first, second))
    opened = [Author.open(name) or Predictor.open(name) for name in (first, second)]
    authors = [one for one in opened if isinstance(one, Author)]
    models = [one for one in opened if isinstance(one, Predictor)]
    if len(authors) == 1:
        raise InputError(
            f"{first} and {second} answer different questions: one writes texts, the other does not"
        )
    if authors:
        return _compare_texts((first, second), authors, data, listener)
    kinds = [(model.fitted.kind, tuple(model.classes)) for model in models]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"{first} and {second} answer different questions: "
            + " and ".join(f"{kind} ({', '.join(names[:5])})" for kind, names in kinds)
        )
    examples = read_for(models[0], [data], text=None, label=None, events=listener)
    answers = [answers_of(models[0], examples, events=listener)]
    if models[1].reads_images:  # perhaps at another size
        examples = read_for(models[1], [data], text=None, label=None, events=Silent())
    answers.append(answers_of(models[1], examples, events=listener))
    kind, gold = examples.kind, examples.labels
    if kind == "multilabel":
        gold = gold.astype("int64")
    metric = default_metric(gold, kind=kind)
    values = [score(one, gold, kind=kind, metric=metric).value for one in answers]
    interval = difference_interval(answers[0], answers[1], gold, kind=kind, metric=metric)
    ends = (interval.low, interval.high)
    return _comparison((first, second), metric, values, ends, len(examples))


def _compare_texts(
    names: tuple[str, str], authors: Sequence[Author], data: Path, events: Events
) -> Comparison:
    rows = read_texts([data], None, None, events)
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


def _common_test(first: str, second: str) -> str:
    """The test file that both runs name in run.yaml."""
    found = []
    for name in (first, second):
        path = RunFolder(Path(name)).settings
        try:
            test = make_settings(FinetuneSettings, file=path).test if path.is_file() else None
        except HeadstartError:
            test = None  # a run of another verb has no test file of its own
        found.append(test)
    if found[0] is None or found[0] != found[1]:
        raise InputError(
            f"{first} and {second} name no common test file: give one with --test test.csv"
        )
    return found[0]
