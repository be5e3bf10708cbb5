"""`headstart report`: whether pretraining pays for a task, with every control beside it.

Labels are read and split, leaks between corpus, training and test rows are taken out, a network is
pretrained on the corpus (or taken from a run), and all arms are run in the time that is left. The
same call again goes on with what is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from headstart.budget import Budget
from headstart.config import PretrainSettings, ReportSettings
from headstart.errors import InputError
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.metrics import default_metric
from headstart.evaluate.transfer import Method, Start
from headstart.events import Events
from headstart.families import build_model, resolve
from headstart.families.digests import folder_digest
from headstart.recipes.building import on_machine, transfer_settings
from headstart.recipes.clock import Clock
from headstart.recipes.finetuning import examples_of
from headstart.recipes.media import medium_of, suited
from headstart.recipes.medium import Medium, Rows, demand_held_out
from headstart.recipes.naming import short_names
from headstart.recipes.pretraining import default_folder
from headstart.recipes.report_commands import following, repeat, repeat_cell
from headstart.recipes.report_features import frozen_features
from headstart.recipes.report_media import Found, Ground, ground_of, timed
from headstart.recipes.report_result import ReportResult
from headstart.recipes.same_cells import (
    CELLS,
    pretrained_with,
    refuse_other_pretraining,
    same_cells,
)
from headstart.recipes.telling import echo
from headstart.recipes.unfinished import digest_of_start
from headstart.report.arms import Contestant, Majority, Making, Race, Transfer, run_arms
from headstart.report.cells import Arm, ScoreTable
from headstart.report.render import write_report
from headstart.report.report import DataSummary, Facts, build_report
from headstart.settings_file import to_yaml
from headstart.tasks import stratified
from headstart.train import RunFolder, TrainSettings
from headstart.train.disk import write_atomically
from headstart.train.precision import choose_precision
from headstart.train.run import machine, versions
from headstart.words import say

TEST_SHARE = 0.2
# of the test split, the twin's fresh weights and its tuning: --seed and --seeds choose label draws,
# and a cell repeated alone must meet the same split and twin
FIXED_SEED = 0
PRETRAINED = "pretrained"  # the run in a report's folder

MAJORITY = Arm("majority", "control", "Majority class", "多数类")
OWN_PROBE = Arm("own-probe", "own", "Own, frozen", "自有模型，冻结")
SCRATCH = Arm("scratch", "scratch", "From scratch, tuned", "从零训练，已调参")
FULL = Arm("own-full", "own", "Own, all weights", "自有模型，全部微调")
LORA = Arm("own-lora", "own", "Own, LoRA", "自有模型，LoRA")
PARTIAL = Arm("own-partial", "own", "Own, top layers", "自有模型，微调顶层")


def public_probe(name: str) -> Arm:
    """The arm of a public model of this name."""
    return Arm(f"public-probe:{name}", "public", f"{name}, frozen", f"{name}，冻结")


@dataclass(frozen=True)
class Task:
    """The labelled rows of both sides. rows, quarantined: of the labelled file."""

    medium: Medium
    ground: Ground
    train: Rows
    test: Rows
    leaks: Found
    rows: int
    quarantined: int


def report(data: Sequence[Path], *, settings: ReportSettings, events: Events) -> ReportResult:
    """Run or continue the report on one labelled file."""
    begin = time.monotonic()
    if len(data) != 1:
        raise InputError(f"give one labelled file, not {len(data)}: {', '.join(map(str, data))}")
    public = {name: resolve(given) for name, given in short_names(settings.public).items()}
    medium = medium_of(
        data[0],
        settings.start,
        text=settings.data,
        images=settings.images,
        model=settings.model,
        seed=settings.seed,
        events=events,
    )
    given, settings = settings, suited(settings, medium)
    folder = RunFolder(Path(settings.out or default_folder("report", data))).create()
    folder.write_settings(to_yaml(settings))
    with Clock(folder.path, begin=begin) as clock:
        task = read_task(data[0], medium, settings, folder, events)
        corpus = task.ground.corpus_digest()
        run = _pretrained(settings, task, folder, corpus, events)
        own = task.ground.start(run.model, str(run.model))
        if settings.start is not None:
            own = task.medium.start(task.train)
        held = (folder.path / CELLS).exists()
        cells = same_cells(
            folder.path,
            settings,
            labels=task.medium.digest(task.train),
            test=task.medium.digest(task.test),
            corpus=corpus,
            model=digest_of_start(own),
            public={name: folder_digest(path) for name, path in public.items()},
            events=events,
        )
        if held and not cells.exists():  # the time of the cells set aside is not of this table
            clock.forget(most=run.seconds)
        deadline = begin + settings.budget.amount - clock.earlier
        race = _race(task, settings, ScoreTable.open(cells), deadline, events)
        contestants = enter(task, own, public, settings, events)
        run_arms(contestants, race)
    facts = Facts(
        task=Path(task.train.source).stem,
        metric=race.metric,
        data=_summary(task, run),
        leaks=task.leaks.summary,
        pretrain_seconds=run.seconds,
        budget_seconds=settings.budget.amount,
        spent_seconds=clock.seconds,
        command=repeat(data, given),
        cell_command=repeat_cell(data, given, run=f"{folder.path.name}/{PRETRAINED}"),
        environment=_environment(settings),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    made = build_report(race.table, [one.arm for one in contestants], facts)
    write_report(made, folder.path)
    fitting = following(made, data, given, folder=folder.path, run=str(folder.path / PRETRAINED))
    return ReportResult(made, folder.path, fitting)


def _race(
    task: Task, settings: ReportSettings, table: ScoreTable, deadline: float, events: Events
) -> Race:
    """What all arms share; says which label counts are left out."""
    counts = settings.counts(len(task.train))
    for count in settings.labels:
        if count != "all" and count not in map(str, counts):
            events.note(say("too_few_labels", count=count, rows=len(task.train)))
    return Race(
        table=table,
        labels=task.train.labels,
        gold=task.test.labels,
        kind=task.train.kind,
        metric=default_metric(task.test.labels, kind=task.train.kind),
        counts=counts,
        seeds=range(settings.seed, settings.seed + settings.seeds),
        deadline=deadline,
        progress=lambda done, total, what: events.progress("arms", done, total, what),
        note=events.note,
    )


def read_task(
    data: Path, medium: Medium, settings: ReportSettings, folder: RunFolder, events: Events
) -> Task:
    """Labelled rows, split unless there is a test file, and what leaks between the files.

    Training rows that stand in the test file are left out of training, corpus records out of the
    corpus.
    """
    train = medium.read(data)
    echo(train, events)
    rows, quarantined = train.rows, train.quarantined
    if settings.test is None:
        inside, outside = stratified(train.labels, TEST_SHARE, seed=FIXED_SEED)
        train, test = train.take(inside), train.take(outside)
        events.note(say("test_split", rows=len(test)))
    else:
        test = medium.read(settings.test, like=train)
        echo(test, events)
    ground = ground_of(medium, settings, folder.path, events)
    if settings.start and not settings.corpus and medium.reads == "text":
        events.note(say("controls_without_corpus", start=settings.start))
    leaks = ground.leaks(train, test)
    events.note(leaks.said)
    if leaks.train_drop:
        train = train.take(np.setdiff1d(np.arange(len(train)), sorted(leaks.train_drop)))
    _demand_rows(data, train, test, settings)
    known = bool(settings.corpus)  # what a given run has read besides is not
    summary = replace(leaks.summary, checked=known, given=settings.start is not None)
    return Task(medium, ground, train, test, replace(leaks, summary=summary), rows, quarantined)


def _demand_rows(data: Path, train: Rows, test: Rows, settings: ReportSettings) -> None:
    """Raise InputError if no table can come of these rows, before time is spent on them."""
    demand_held_out(data, test)
    if not len(train):
        raise InputError(
            f"{data}: every labelled row is also a test row, so none is left to learn from; give "
            "rows that are not in the test file"
        )
    for what, rows in (("test", test), ("labelled", train)):
        if rows.kind == "number" and np.ptp(rows.labels) == 0:
            raise InputError(
                f"{rows.source}: the number of every {what} row is {rows.labels[0]:g}, so there is "
                "nothing to put in order; add rows with other numbers"
            )
    if not settings.counts(len(train)):
        counts = ", ".join(settings.labels)
        raise InputError(
            f"--labels {counts}: more than the {len(train)} labelled rows that there are for "
            "learning; give fewer, or all"
        )


@dataclass(frozen=True)
class Run:
    """The pretrained model of a report, and what it cost."""

    model: Path
    seconds: float
    documents: int
    tokens: int


def _pretrained(
    settings: ReportSettings, task: Task, folder: RunFolder, corpus: str, events: Events
) -> Run:
    """Pretrain on the corpus, whose digest is given, or take the run that was given."""
    if settings.start is not None:
        return Run(resolve(settings.start), 0.0, 0, 0)
    if not settings.corpus:
        raise InputError(
            f"nothing to pretrain on: give unlabelled {task.medium.reads} with --corpus, or a run "
            "with --from"
        )
    inner = PretrainSettings(
        data=settings.data.model_copy(
            update={"paths": settings.corpus, "text": task.ground.text, "label": None}
        ),
        images=settings.images.model_copy(update={"column": None}),
        model=settings.model,
        objective=settings.objective,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        budget=Budget(settings.budget.amount * settings.pretrain_share, "seconds"),
        machine=settings.machine,
        seed=settings.seed,
        out=str(folder.path / PRETRAINED),
    )
    place, done = RunFolder(folder.path / PRETRAINED), folder.path / "pretrained.json"
    begun_with = pretrained_with(inner, task.leaks.drop, corpus)
    if not (done.exists() and place.model.exists()):
        seconds, documents, tokens = task.ground.pretrain(inner, events)
        facts = {
            "seconds": seconds,
            "documents": documents,
            "tokens": tokens,
            "begun_with": begun_with,
        }
        write_atomically(done, json.dumps(facts).encode())
    facts = json.loads(done.read_text("utf-8"))
    refuse_other_pretraining(place.path, made=facts["begun_with"], wanted=begun_with)
    return Run(place.model, facts["seconds"], facts["documents"], facts["tokens"])


def enter(
    task: Task,
    own: Start,
    public: Mapping[str, Path],
    settings: ReportSettings,
    events: Events,
) -> list[Contestant]:
    """All arms of the report, their shared features made.

    own: the network that is judged. public: folders of others' models, by their names for people.
    """
    ground, kind = task.ground, task.train.kind
    arms: list[Contestant] = [Majority(MAJORITY, len(task.test), kind)]
    events.progress("features", 0, 4)
    arms += ground.controls(task.train, task.test, events)
    pool = ground.pool(task.train)
    rows = [task.train, task.test, *([] if pool is None else [pool])]
    frozen = frozen_features(own, rows, task.medium, settings)
    arms.append(frozen.arm(OWN_PROBE, kind, settings))
    arms += ground.beside(frozen.sides, frozen.making, kind)
    arms += _trained(own, frozen.cache, task, settings)
    events.progress("features", 3, 4)
    for name, folder in public.items():
        other = ground.fitting(ground.start(folder, name))
        theirs = frozen_features(other, rows, task.medium, settings)
        arms.append(theirs.arm(public_probe(name), kind, settings))
    events.progress("features", 4, 4)
    return [one for one in arms if not settings.arms or one.arm.family in settings.arms]


def _trained(
    own: Start, cache: FeatureCache, task: Task, settings: ReportSettings
) -> list[Transfer]:
    """The arms that train the network: the pretrained one, and its twin from scratch."""
    train, train_s = timed(lambda: examples_of(task.train, task.medium, own))
    test, test_s = timed(lambda: task.medium.encode(task.test, own))
    making = Making(row_s=(train_s + test_s) / (len(task.train) + len(task.test)))
    model = own.model
    twin = build_model(model.config, family=model.family, style=model.style, seed=FIXED_SEED)
    scratch = replace(own, model=twin, heads={}, pretrained=False)
    how = transfer_settings(settings)
    seed = FIXED_SEED
    arms = [Transfer(SCRATCH, scratch, train, test, "full", how, seed, making=making)]
    methods: list[tuple[Method, Arm, int]] = [
        ("full", FULL, 1),
        ("lora", LORA, 2),
        ("partial", PARTIAL, 2),
    ]
    for method, arm, wave in methods:
        if settings.transfer.method in ("auto", method):
            arms.append(
                Transfer(arm, own, train, test, method, how, seed, cache, wave, making=making)
            )
    return arms


def _summary(task: Task, run: Run) -> DataSummary:
    train = task.train
    counts: dict[str, int] = {}
    if train.kind == "classes":
        rows = np.bincount(train.labels, minlength=len(train.classes)).tolist()
        counts = dict(zip(train.classes, rows, strict=True))
    return DataSummary(
        train_source=Path(train.source).name,
        rows_read=task.rows,
        quarantined=task.quarantined,
        rejected=0,
        train_rows=len(train),
        test_rows=len(task.test),
        classes=counts,
        corpus_documents=run.documents,
        corpus_tokens=run.tokens,
        reads=task.medium.reads,
    )


def _environment(settings: ReportSettings) -> dict[str, str]:
    training = on_machine(TrainSettings(), settings.machine)
    return versions() | machine(choose_precision(training))
