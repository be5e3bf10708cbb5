"""`headstart finetune`: labelled texts or images and a start in, a model that answers out.

Rows that stand in the test file are left out of training. Every choice (method, best seed) is made
on rows held out of the training file; the test file's labels are looked at once, when all is done.
The score is the mean over all seeds; the model that is kept is the best seed's on the rows held
out. A call that was stopped is taken up by the same call (`unfinished.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from headstart.batch import Sequences
from headstart.config import FinetuneSettings
from headstart.errors import InputError
from headstart.evaluate.finetune import Watch
from headstart.evaluate.metrics import score
from headstart.evaluate.transfer import (
    Fitted,
    Start,
    TransferSettings,
    candidates,
    choose,
    feature_cache,
    transfer,
)
from headstart.evaluate.writing import Writing
from headstart.events import Events
from headstart.families.digests import seal
from headstart.recipes import writing
from headstart.recipes.building import transfer_settings
from headstart.recipes.evaluating import measured
from headstart.recipes.media import medium_of, suited
from headstart.recipes.medium import Medium, demand_classes, demand_held_out
from headstart.recipes.medium import Rows as LabelledRows
from headstart.recipes.pretraining import default_folder
from headstart.recipes.results import FinetuneResult, Measured
from headstart.recipes.seeds import Learnt, Rows, chosen_once, over_seeds
from headstart.recipes.telling import echo
from headstart.recipes.text_medium import TextMedium
from headstart.recipes.unfinished import Unfinished, digest_of_start
from headstart.settings_file import settings_digest, to_yaml
from headstart.tasks import LabelledTokens, stratified
from headstart.train import Outcome, RunFolder, TrainSettings, make_lineage
from headstart.train.disk import write_atomically
from headstart.train.precision import choose_precision
from headstart.words import say

HELD_OUT = 0.2  # share of the rows that are held out where there is no test file
TO_CHOOSE = 0.1  # share of the rows by which the best seed is chosen where there is one
LEAST_TO_CHOOSE = 100  # rows, below which none are held out to choose by
MOST_POOL = 20_000  # records for self-training
POOL = "corpus-images"  # where images among them are kept while the run is unfinished


def finetune(
    data: Sequence[Path], *, start: str, settings: FinetuneSettings, events: Events
) -> FinetuneResult:
    """Learn the task of one labelled file; writes a run folder.

    start: "scratch", a run folder, a Hugging Face folder, or "hf:NAME".
    Raises InputError if the file or the settings cannot be used.
    """
    began = time.perf_counter()
    if len(data) != 1:
        raise InputError(f"give one labelled file, not {len(data)}: {', '.join(map(str, data))}")
    medium = medium_of(
        data[0],
        start,
        text=settings.data,
        images=settings.images,
        model=settings.model,
        seed=settings.seed,
        events=events,
        written=True,
    )
    if isinstance(medium, TextMedium) and settings.data.kind == "text":
        writing.refuse_early(settings, medium.loaded)
    settings = suited(settings, medium)
    folder = RunFolder(Path(settings.out or default_folder("finetune", data))).create()
    folder.write_settings(to_yaml(settings))
    rows = read_rows_for(data[0], medium, settings, events)
    written = rows.learn.kind == "text"
    origin = medium.start(rows.learn)
    if written:
        writing.refuse_to_write(settings, origin.model)
    how = transfer_settings(settings)
    _announce(origin, rows, medium, settings, folder, events)
    decisive = {
        "settings": settings_digest(settings),
        "labels": medium.digest(rows.learn),
        "start": digest_of_start(origin),
    }
    left = Unfinished(folder, decisive, events)
    learnt: Learnt[Fitted] | Learnt[Writing]
    if written:
        how = writing.with_target_length(how, settings)
        learnt = authors = writing.learn(origin, rows, settings, how, left, events)
    else:
        learnt = labellers = _learn(origin, rows, medium, settings, how, left, events)
    write_atomically(folder.metrics, _lines(learnt.history))
    best = learnt.fitted[learnt.best]
    noun = {"text": "texts", "images": "images"}[medium.reads]
    about = say(f"card_finetuned_{noun}", start=start, method=best.method, rows=len(rows.learn))
    best.save(folder.model, tokenizer=origin.tokenizer, about=about)
    seal(folder.model)
    if written:
        result = writing.measure(authors, rows, origin, events)
    else:
        result = _measure(labellers, rows, lambda some: medium.encode(some, origin), events)
    seconds = time.perf_counter() - began
    digests = {"labels": medium.digest(rows.learn)}
    if rows.test is not None:
        digests["test"] = medium.digest(rows.test)
    _write_lineage(folder, start, digests, settings, learnt, seconds)
    left.remove()
    return FinetuneResult(
        folder.path, best.method, result, len(learnt.fitted), seconds, reads=medium.reads
    )


def read_rows_for(data: Path, medium: Medium, settings: FinetuneSettings, events: Events) -> Rows:
    """Training rows, rows held out, and test rows; what is measured on stays out of training."""
    train = medium.read(data)
    echo(train, events)
    if settings.test is None:
        if len(train) < 5:
            raise InputError(
                f"{data}: {len(train)} labelled rows are too few to hold some out for testing. "
                "Add rows, or give a test file with --test"
            )
        learn, held = stratified(train.labels, HELD_OUT, seed=settings.seed)
        apart = train.take(held)
        demand_held_out(data, apart)
        events.note(say("test_split", rows=len(held)))
        nothing = (
            f"{data}: every row that is left to learn from stands among those held out for testing "
            "too. Add rows, or give a test file with --test"
        )
        learnt, found = _without_repeated(train.take(learn), apart, medium, nothing=nothing)
        if found:
            events.note(say("split_repeats", rows=len(learn) - len(learnt)))
        return Rows(learnt, apart, None)
    test = medium.read(settings.test, like=train)
    echo(test, events)
    nothing = f"{data}: every row stands in {settings.test} too. Separate them"
    train, found = _without_repeated(train, test, medium, nothing=nothing)
    if found:
        events.note(found)
    one_model = settings.seeds == 1 or settings.transfer.method == "probe"
    if one_model or len(train) < LEAST_TO_CHOOSE:
        return Rows(train, None, test)
    learn, held = stratified(train.labels, TO_CHOOSE, seed=settings.seed)
    return Rows(train.take(learn), train.take(held), test)


def _without_repeated(
    learn: LabelledRows, test: LabelledRows, medium: Medium, *, nothing: str
) -> tuple[LabelledRows, str]:
    """Rows to learn from that do not stand among the test rows, and what was left out, if any.

    nothing: what to say in an InputError if no row is left.
    """
    repeated, found = medium.repeated(learn, test)
    if not len(repeated):
        return learn, ""
    kept = np.setdiff1d(np.arange(len(learn)), repeated)
    if not len(kept):
        raise InputError(nothing)
    return learn.take(kept), found


def _learn(
    origin: Start,
    rows: Rows,
    medium: Medium,
    settings: FinetuneSettings,
    how: TransferSettings,
    left: Unfinished,
    events: Events,
) -> Learnt[Fitted]:
    examples = examples_of(rows.learn, medium, origin)
    unlabelled = _unlabelled(origin, rows, medium, settings, left, events)
    events.progress("features", 0, 0)
    cache = feature_cache(origin, how)
    seeds = list(range(settings.seed, settings.seed + settings.seeds))
    options = candidates(origin, examples, settings.transfer.method, how)
    choice = chosen_once(
        lambda: choose(origin, examples, options, seed=settings.seed, cache=cache), left, events
    )
    if choice.candidate.method == "probe":
        seeds = seeds[:1]  # another seed would give the same head

    def fit(seed: int, folder: Path, watch: Watch) -> Fitted:
        return transfer(
            origin,
            examples,
            choice.candidate.method,
            settings=how,
            seed=seed,
            cache=cache,
            choice=choice,
            unlabelled=unlabelled,
            folder=folder,
            watch=watch,
        )

    def grade(one: Fitted) -> float:
        return _held_out(one, rows.held, medium, origin)

    return over_seeds(seeds, fit, grade, left, events)


def _unlabelled(
    origin: Start,
    rows: Rows,
    medium: Medium,
    settings: FinetuneSettings,
    left: Unfinished,
    events: Events,
) -> Sequences | None:
    """Records of the corpus for self-training, without those of rows that are measured on."""
    if not settings.transfer.self_training:
        return None
    demand_classes(rows.learn)
    apart = [part for part in (rows.held, rows.test) if part is not None]
    pool, left_out = medium.unlabelled(
        settings.corpus, apart, most=MOST_POOL, place=left.folder / POOL
    )
    key = {"text": "self_training", "images": "self_training_images"}[medium.reads]
    events.note(say(key, records=len(pool), left_out=left_out))
    return medium.encode(pool, origin)


def _lines(history: Sequence[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in history)


def examples_of(rows: LabelledRows, medium: Medium, start: Start) -> LabelledTokens:
    """Labelled rows as a model takes them."""
    inputs = medium.encode(rows, start)
    return LabelledTokens(inputs, rows.labels, rows.kind, tuple(rows.classes))


def _held_out(fitted: Fitted, held: LabelledRows | None, medium: Medium, start: Start) -> float:
    if held is None or not len(held):
        return 0.0
    gold = held.labels.astype(np.int64) if held.kind == "multilabel" else held.labels
    return score(fitted.answers(medium.encode(held, start)), gold, kind=held.kind).value


def _measure(
    learnt: Learnt[Fitted], rows: Rows, encoded: Callable[[LabelledRows], Sequences], events: Events
) -> Measured:
    """The score on the test rows, or on those held out, of what the folder will answer."""
    found = rows.measured
    inputs = encoded(found)
    answers = []
    for number, fitted in enumerate(learnt.fitted, 1):
        answers.append(fitted.deployed().answers(inputs))
        events.progress("evaluate", number, len(learnt.fitted))
    return measured(np.stack(answers), found.labels, kind=found.kind, classes=found.classes)


def _announce(
    origin: Start,
    rows: Rows,
    medium: Medium,
    settings: FinetuneSettings,
    folder: RunFolder,
    events: Events,
) -> None:
    learn, config = rows.learn, origin.model.config
    classes = f"{len(learn.classes)} classes" if learn.kind == "classes" else learn.kind
    events.plan(
        [
            medium.described(learn, classes),
            say(
                "plan_start",
                start=origin.name,
                family=origin.model.family,
                layers=config.num_layers,
                hidden=config.hidden_size,
                parameters=sum(p.numel() for p in origin.model.parameters()) / 1e6,
            ),
            say("plan_method", method=settings.transfer.method, seeds=settings.seeds),
            say("plan_out", out=folder.path),
        ]
    )


def _write_lineage(
    folder: RunFolder,
    start: str,
    data: dict[str, str],
    settings: FinetuneSettings,
    learnt: Learnt[Fitted] | Learnt[Writing],
    seconds: float,
) -> None:
    machine = settings.machine
    precision = choose_precision(
        TrainSettings(
            device=machine.device, precision=machine.precision, threads=machine.threads or 0
        )
    )
    outcome = Outcome(
        reason="budget",
        step=learnt.steps,
        total=learnt.steps,
        best_step=0,
        best_score=None,
        seconds=seconds,
        probe_s=0.0,
        exact=True,
    )
    seeds = {"first": settings.seed, "kept": settings.seed + learnt.best}
    parent = "" if start == "scratch" else start
    folder.write_lineage(make_lineage(outcome, precision, data=data, parent=parent, seeds=seeds))
