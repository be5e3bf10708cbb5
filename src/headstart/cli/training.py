"""The verbs that train: pretrain, finetune, report, plan, demo. Each calls its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart import recipes
from headstart.cli import options as o
from headstart.cli.session import Session, demand
from headstart.config import FinetuneSettings, PretrainSettings, ReportSettings
from headstart.recipes.given import of_data, of_network, of_run, of_towers, of_transfer
from headstart.settings_file import make_settings


def pretrain(
    data: o.Corpus = None,
    family: o.Family = None,
    size: o.Size = None,
    objective: o.Objective = None,
    then: o.Then = None,
    start: o.Start = None,
    start_text: o.StartText = None,
    start_images: o.StartImages = None,
    budget: o.Budget = None,
    probe: o.Probe = None,
    text: o.Text = None,
    label: o.ProbeLabel = None,
    vocab_size: o.VocabSize = None,
    max_length: o.MaxLength = None,
    out: o.Out = None,
    threads: o.Threads = None,
    seed: o.Seed = None,
    config: o.Config = None,
    overrides: o.Overrides = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Pretrain a transformer on your own unlabelled text or images.

    Example: headstart pretrain docs/ --budget 30m
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    given = {
        **of_data(data, text=text, label=label, vocab_size=vocab_size, max_length=max_length),
        **of_network(family, size=size, objective=objective),
        **of_run(out, threads=threads, seed=seed),
        "start": start,
        **of_towers(start_text, images=start_images),
        "then": then,
        "budget": budget,
        "probe": probe,
    }
    settings = make_settings(PretrainSettings, file=config, given=given, overrides=overrides or ())
    demand(settings.data.paths, what="text", example="headstart pretrain docs/ --budget 30m")
    with session.events as events:
        result = recipes.pretrain(_paths(settings.data.paths), settings=settings, events=events)
    session.finish(result)


def finetune(
    data: o.Labels = None,
    start: o.Start = None,
    method: o.Method = None,
    task: o.Task = None,
    test: o.Test = None,
    text: o.Text = None,
    label: o.Label = None,
    epochs: o.Epochs = None,
    seeds: o.Seeds = None,
    out: o.Out = None,
    threads: o.Threads = None,
    seed: o.Seed = None,
    config: o.Config = None,
    overrides: o.Overrides = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Teach a pretrained model your labelled task.

    Example: headstart finetune labels.csv --from runs/docs
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    given = {
        **of_data(data, text=text, label=label, kind=task),
        **of_transfer(method, epochs=epochs),
        **of_run(out, threads=threads, seed=seed),
        "start": start,
        "test": test,
        "seeds": seeds,
    }
    settings = make_settings(FinetuneSettings, file=config, given=given, overrides=overrides or ())
    example = "headstart finetune labels.csv --from runs/docs"
    demand(settings.data.paths, what="labelled file", example=example)
    with session.events as events:
        result = recipes.finetune(
            _paths(settings.data.paths), start=settings.start, settings=settings, events=events
        )
    session.finish(result)


def report(
    data: o.Labels = None,
    corpus: o.CorpusOption = None,
    start: o.Start = None,
    public: o.Public = None,
    test: o.Test = None,
    text: o.Text = None,
    label: o.Label = None,
    task: o.Task = None,
    labels: o.LabelCounts = None,
    method: o.Method = None,
    family: o.Family = None,
    size: o.Size = None,
    objective: o.Objective = None,
    seeds: o.Seeds = None,
    budget: o.Budget = None,
    out: o.Out = None,
    threads: o.Threads = None,
    seed: o.Seed = None,
    config: o.Config = None,
    overrides: o.Overrides = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Learn whether pretraining pays for your task, and from how many labels on.

    Example: headstart report labels.csv --corpus docs/ --budget 30m
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    given = {
        **of_data(data, text=text, label=label, kind=task),
        **of_network(family, size=size, objective=objective),
        **of_transfer(method),
        **of_run(out, threads=threads, seed=seed),
        "corpus": corpus or None,
        "start": start,
        "public": public or None,
        "test": test,
        "labels": labels.split(",") if labels else None,
        "seeds": seeds,
        "budget": budget,
    }
    settings = make_settings(ReportSettings, file=config, given=given, overrides=overrides or ())
    example = "headstart report labels.csv --corpus docs/ --budget 30m"
    demand(settings.data.paths, what="labelled file", example=example)
    demand(
        settings.corpus or (settings.start or "")[:1], what="--corpus or --from", example=example
    )
    with session.events as events:
        result = recipes.report(_paths(settings.data.paths), settings=settings, events=events)
    session.finish(result)


def plan(
    data: o.Corpus = None,
    family: o.Family = None,
    size: o.Size = None,
    objective: o.Objective = None,
    then: o.Then = None,
    start: o.Start = None,
    budget: o.Budget = None,
    text: o.Text = None,
    vocab_size: o.VocabSize = None,
    max_length: o.MaxLength = None,
    threads: o.Threads = None,
    config: o.Config = None,
    overrides: o.Overrides = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Forecast what `headstart pretrain` would do: steps, time, memory. Trains nothing.

    Example: headstart plan docs/ --size small --budget 2h
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    given = {
        **of_data(data, text=text, vocab_size=vocab_size, max_length=max_length),
        **of_network(family, size=size, objective=objective),
        **of_run(None, threads=threads),
        "start": start,
        "then": then,
        "budget": budget,
    }
    settings = make_settings(PretrainSettings, file=config, given=given, overrides=overrides or ())
    demand(settings.data.paths, what="text", example="headstart plan docs/ --budget 2h")
    with session.events as events:
        result = recipes.plan(_paths(settings.data.paths), settings=settings, events=events)
    session.finish(result)


def demo(
    out: o.Out = None,
    budget: o.Budget = None,
    threads: o.Threads = None,
    as_json: o.AsJson = False,
    lang: o.Lang = None,
) -> None:
    """Run a small report on packaged real data: some minutes, no network.

    Example: headstart demo
    """
    session = Session(lang=o.chosen(lang), as_json=as_json)
    with session.events as events:
        result = recipes.demo(out=out, budget=budget, threads=threads, events=events)
    session.finish(result)


def _paths(names: Sequence[str]) -> list[Path]:
    return [Path(name) for name in names]
