"""The verbs that use what was trained, and look at data and machine. Each calls its recipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from headstart import recipes
from headstart.cli import options as o
from headstart.cli.session import Session, demand
from headstart.config import PromptSettings
from headstart.data.opening import piped_lines
from headstart.errors import HeadstartError, InputError
from headstart.recipes.given import reading
from headstart.settings_file import make_settings


def evaluate(
    model: o.ModelArgument,
    data: o.Labels = None,
    text: o.Text = None,
    label: o.Label = None,
    overrides: o.Reading = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Score a fine-tuned model on a labelled file or folder, or a CLIP on captions or labels.

    Example: headstart evaluate runs/task test.csv
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    demand(data or (), what="labelled file", example="headstart evaluate runs/task test.csv")
    paths = [Path(name) for name in data or ()]
    read = reading(overrides=overrides or ())
    with session.events as events:
        result = recipes.evaluate(model, paths, text=text, label=label, read=read, events=events)
    session.finish(result)


def predict(
    model: o.ModelArgument,
    inputs: o.Inputs = None,
    text: o.Text = None,
    overrides: o.Reading = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Answer for new texts or images with a fine-tuned model; a CLIP takes images and texts.

    Example: headstart predict runs/task "is my card on its way?"
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    demand(
        [*filter(None, inputs or ())],
        what="input",
        example='headstart predict runs/task "some text"',
    )
    read = reading(overrides=overrides or ())
    given = _with_stdin(inputs or (), read.data.encoding)
    with session.events as events:
        result = recipes.predict(model, given, text=text, read=read, events=events)
    session.finish(result)


def generate(
    model: o.ModelArgument,
    prompts: o.Prompts = None,
    file: o.PromptFile = None,
    max_new: o.MaxNew = None,
    temperature: o.Temperature = None,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    beams: o.Beams = None,
    length_penalty: o.LengthPenalty = None,
    repetition_penalty: o.RepetitionPenalty = None,
    stop: o.Stop = None,
    seed: o.Seed = None,
    overrides: o.Reading = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Continue texts with a pretrained gpt, llama or t5 model, or any other that writes.

    Example: headstart generate runs/docs "Dear customer," --max-new 40
    """
    session = Session(lang=o.chosen(lang), as_json=as_json, bars=False)
    if file is None:
        demand(
            [*filter(None, prompts or ())],
            what="prompt",
            example='headstart generate runs/docs "Dear customer"',
        )
    encoding = make_settings(PromptSettings, overrides=overrides or ()).data.encoding
    given = _with_stdin(prompts or (), encoding)
    choices = {
        "max_new": max_new,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "beams": beams,
        "length_penalty": length_penalty,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    chosen = {name: value for name, value in choices.items() if value is not None}
    with session.events as events:
        result = recipes.generate(
            model,
            given,
            file=file,
            encoding=encoding,
            stop=stop or (),
            show=None if as_json else session.piece,
            events=events,
            **chosen,
        )
    session.finish(result)


def _with_stdin(items: Sequence[str], encoding: str | None) -> list[str]:
    """The items; lines from stdin where a dash stands, in the encoding of files."""
    given: list[str] = []
    for item in items:
        if item == "-":
            given += piped_lines(sys.stdin.buffer.read(), source="stdin", encoding=encoding)
        else:
            given.append(item)
    return given


def compare(
    first: o.ModelArgument,
    second: o.ModelArgument,
    data: o.Test = None,
    text: o.Text = None,
    label: o.Label = None,
    overrides: o.Reading = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Compare two runs on the same examples, with an interval for the difference.

    Example: headstart compare runs/a runs/b
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    read = reading(overrides=overrides or ())
    with session.events as events:
        result = recipes.compare(
            first, second, test=data, text=text, label=label, read=read, events=events
        )
    session.finish(result)


def check(
    data: o.Paths,
    text: o.Text = None,
    label: o.Label = None,
    test: o.Test = None,
    overrides: o.Reading = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Find every problem of your data in one pass, before any training.

    Example: headstart check labels.csv --test test.csv
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    read = reading(overrides=overrides or ())
    with session.events as events:
        result = recipes.check(data, text=text, label=label, test=test, read=read, events=events)
    session.finish(result)
    if getattr(result, "rejected", 0):
        raise Unusable


def doctor(
    measure: o.Measure = False,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Say what this machine and installation can do, and what to mend.

    Example: headstart doctor --measure
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    result = recipes.doctor(measure=measure)
    session.finish(result)
    if getattr(result, "failures", 0):
        raise NotReady


class Unusable(InputError):
    """The data holds records that cannot be used; the screen has shown them."""


class NotReady(HeadstartError):
    """The machine lacks something; the screen has shown it."""

    exit_code = 3
