"""Runs the arms of a report: every arm x label count x seed that fits the time, cheapest first.

In: arms that can answer the test rows after learning from some training rows. Out: cells in the
score table, each on disk as soon as it is done, so a report that is killed goes on where it was.
Label subsets are nested and shared by all arms of a seed. Cells for which no time is left are
recorded as skipped, never silently left out; a cell that turns out not to fit is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from headstart.batch import Sequences
from headstart.data.labels import Kind
from headstart.errors import HeadstartError, Interrupted
from headstart.evaluate.baselines import Features, Floats, LinearHead, fit_linear, fit_majority
from headstart.evaluate.deadline import Deadline, OutOfTime, Poll, never, part
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.metrics import Metric, of_each_row, score
from headstart.evaluate.neighbours import by_neighbours
from headstart.evaluate.self_training import self_train
from headstart.evaluate.transfer import Candidate, Choice, Start, candidates, choose, transfer
from headstart.evaluate.transfer_settings import Method, TransferSettings
from headstart.report.cells import (
    Arm,
    Cell,
    ScoreTable,
    Setting,
    draw,
    expected_seconds,
    pack_correct,
)
from headstart.tasks import LabelledTokens
from headstart.words import say

CHEAP_S = 30.0  # seconds that all cells of cheap arms have together even when the time is over
CHOOSING = 0.8  # at most, of the time of the twin's first cell at a label count


@dataclass(frozen=True)
class Answer:
    """What an arm says of the test rows, and the settings that repeat it.

    labels: as in `Labelled.labels`. once: seconds of a choice that the other seeds need not make.
    before: seconds of this cell's work that was done beforehand, for all cells together.
    """

    labels: np.ndarray
    settings: Mapping[str, Setting] = field(default_factory=dict)
    once: float = 0.0
    before: float = 0.0


@dataclass(frozen=True)
class Making:
    """What was made once for all cells, features or encoded inputs, and its seconds.

    fit_s: of fitting what makes them, which a cell alone needs too. row_s: of each input.
    """

    fit_s: float = 0.0
    row_s: float = 0.0

    def __add__(self, other: Making) -> Making:
        return Making(self.fit_s + other.fit_s, self.row_s + other.row_s)

    def of(self, rows: int) -> float:
        """Of so many inputs."""
        return self.fit_s + rows * self.row_s


class Contestant(Protocol):
    """An arm that can be run.

    wave: 0 is cheap and always run; higher ones are costly and run later, while time is left.
    """

    arm: Arm
    wave: int

    def run(self, rows: np.ndarray, labels: np.ndarray, seed: int, *, poll: Poll = never) -> Answer:
        """Learn from these training rows, then answer the test rows. poll: called on the way."""
        ...


@dataclass
class Majority:
    """Always the commonest answer."""

    arm: Arm
    test_rows: int
    kind: Kind
    wave: int = 0

    def run(self, rows: np.ndarray, labels: np.ndarray, seed: int, *, poll: Poll = never) -> Answer:
        """The commonest answer among the rows' labels."""
        head = fit_majority(labels, kind=self.kind)
        return Answer(head.predict(np.zeros((self.test_rows, 0))))


@dataclass
class Linear:
    """A tuned linear head on features that were made once.

    others: further features of training rows, test rows and pool, by a name of their own; those
    with the least cross-validated loss inside the rows are used. pool: features of records without
    labels, for `rounds` of self-training. balanced: see `fit_linear`. making: of all features.
    """

    arm: Arm
    train: Features
    test: Features
    kind: Kind
    wave: int = 0
    balanced: bool = False
    pool: Features | None = None
    rounds: int = 0
    others: Mapping[str, Sequence[Features]] = field(default_factory=dict)
    making: Making = Making()

    def run(self, rows: np.ndarray, labels: np.ndarray, seed: int, *, poll: Poll = never) -> Answer:
        """Fit on the rows' features; the penalty is tuned inside them."""
        known, test, pool, name = self.train[rows], self.test, self.pool, ""
        fits = pool is not None and self.kind == "classes"
        share = 1 / (1 + len(self.others) + (self.rounds if fits else 0))

        def fit(features: Features, number: int) -> LinearHead:
            return fit_linear(
                features,
                labels,
                kind=self.kind,
                seed=seed,
                balanced=self.balanced,
                poll=part(poll, number * share, share),
            )

        head = fit(known, 0)
        for number, (other, sides) in enumerate(self.others.items(), 1):
            rival = fit(sides[0][rows], number)
            if rival.loss < head.loss:
                head, known, test, name = rival, sides[0][rows], sides[1], other
                pool = sides[2] if len(sides) > 2 else None
        if fits and pool is not None:
            head = self_train(
                head,
                known,
                labels,
                pool,
                rounds=self.rounds,
                seed=seed,
                centre=False,
                balanced=self.balanced,
                poll=part(poll, (1 + len(self.others)) * share, self.rounds * share),
            )
        used: dict[str, Setting] = {"C": head.strength, "tuned": head.tuned}
        if name:
            used["features"] = name
        read = len(rows) + test.shape[0] + (pool.shape[0] if fits and pool is not None else 0)
        return Answer(head.predict(test), used, before=self.making.of(read))


@dataclass
class Neighbours:
    """What the likest training rows are."""

    arm: Arm
    train: Floats
    test: Floats
    kind: Kind
    wave: int = 0
    making: Making = Making()

    def run(self, rows: np.ndarray, labels: np.ndarray, seed: int, *, poll: Poll = never) -> Answer:
        """Ask the nearest of these rows; how many is chosen inside them."""
        known = self.train[rows]
        found, count = by_neighbours(known, labels, self.test, kind=self.kind, seed=seed, poll=poll)
        before = self.making.of(len(rows) + len(self.test))
        return Answer(found, {"neighbours": count}, before=before)


@dataclass
class Transfer:
    """A network that learns by one method.

    start: pretrained, or fresh weights. cache: the start's frozen features, shared by all cells.
    making: of the inputs, which were encoded once.
    Where there is something to choose (the scratch twin's rate and passes), it is chosen inside the
    labels that `first_seed` draws, for each label count, and kept for the other seeds.
    """

    arm: Arm
    start: Start
    train: LabelledTokens
    test: Sequences
    method: Method
    settings: TransferSettings
    first_seed: int
    cache: FeatureCache | None = None
    wave: int = 1
    making: Making = Making()
    chosen: dict[int, Choice] = field(default_factory=dict)

    def run(self, rows: np.ndarray, labels: np.ndarray, seed: int, *, poll: Poll = never) -> Answer:
        """Transfer to these rows."""
        examples = self.train.take(rows)
        choice = self.chosen.get(len(rows))
        choosing = once = 0.0
        spared = 0.0 if self.cache is None else self.cache.spared
        if choice is None and not self.start.pretrained:
            choosing = CHOOSING
            choice = self.chosen[len(rows)] = self._choose(len(rows), part(poll, 0.0, choosing))
            once = choice.cost_s
        fitted = transfer(
            self.start,
            examples,
            self.method,
            settings=self.settings,
            seed=seed,
            cache=self.cache,
            choice=choice,
            poll=part(poll, choosing, 1 - choosing),
        )
        answers = fitted.answers(self.test, poll=part(poll, 0.0, 0.0))
        before = self.making.of(len(rows) + len(self.test))
        if self.cache is not None:
            before += self.cache.spared - spared
        return Answer(answers, fitted.settings, once, before)

    def recall(self, table: ScoreTable) -> None:
        """Keep what was chosen in earlier calls, as the cells that they finished say it."""
        if self.start.pretrained:
            return
        for cell in table.done(self.arm.name):
            settings = TransferSettings.recorded(cell.settings)
            self.chosen[cell.labels] = Choice(Candidate(self.method, settings), {}, 0.0)

    def _choose(self, count: int, poll: Poll) -> Choice:
        labels, kind, seed = self.train.labels, self.train.kind, self.first_seed
        examples = self.train.take(draw(labels, count, seed=seed, kind=kind))
        options = candidates(self.start, examples, self.method, self.settings)
        return choose(self.start, examples, options, seed=seed, cache=self.cache, poll=poll)


@dataclass(frozen=True)
class Race:
    """What all arms share.

    labels: of the training rows; gold: of the test rows. deadline: `time.monotonic()` at which the
    last cell must be done. poll: called between cells; raises to stop.
    """

    table: ScoreTable
    labels: np.ndarray
    gold: np.ndarray
    kind: Kind
    metric: Metric
    counts: Sequence[int]
    seeds: Sequence[int]
    deadline: float
    progress: Callable[[int, int, str], None]
    note: Callable[[str], None]
    poll: Callable[[], None] = lambda: None


def run_arms(contestants: Sequence[Contestant], race: Race) -> None:
    """Fill the score table: cheap arms whole, then costly waves while time is left.

    Few labels come first, and all seeds and arms of one label count before the next: what the time
    does not reach is whole columns at the right, not the seeds that intervals are made of.
    """
    plan = [
        (contestant, count, seed)
        for wave in sorted({one.wave for one in contestants})
        for count in race.counts
        for seed in race.seeds
        for contestant in contestants
        if contestant.wave == wave
    ]
    for contestant in contestants:
        if isinstance(contestant, Transfer):
            contestant.recall(race.table)
    least = time.monotonic() + CHEAP_S
    for number, (contestant, count, seed) in enumerate(plan):
        race.poll()
        name = contestant.arm.name
        race.progress(number, len(plan), say("cell_now", arm=name, labels=count, seed=seed))
        known = race.table.get(name, count, seed)
        if known is not None and known.status == "done":
            continue
        limit = Deadline(race.deadline if contestant.wave else max(race.deadline, least))
        needed = expected_seconds(race.table, name, count)
        if limit.left <= 0 or needed > limit.left:
            race.table.append(_skipped(name, count, seed, needed, limit.left))
            continue
        race.table.append(_cell(contestant, race, count, seed, limit))
    race.progress(len(plan), len(plan), "")


def _skipped(arm: str, labels: int, seed: int, needed: float, left: float) -> Cell:
    note = str(OutOfTime(needed, max(0.0, left)))
    return Cell(arm, labels, seed, 0.0, 0.0, status="skipped", note=note)


def _cell(contestant: Contestant, race: Race, count: int, seed: int, limit: Deadline) -> Cell:
    """Run one cell. An arm that cannot do it is recorded as failed, one that cannot end in the time
    left as skipped, and the others go on.
    """
    name = contestant.arm.name
    rows = draw(race.labels, count, seed=seed, kind=race.kind)
    start = time.perf_counter()
    try:
        answer = contestant.run(rows, race.labels[rows], seed, poll=limit)
    except Interrupted:
        raise
    except OutOfTime as late:
        race.note(say("cell_given_up", arm=name, labels=count, seed=seed, why=str(late)))
        return Cell(
            name, count, seed, 0.0, 0.0, status="skipped", note=str(late), needed=late.needed
        )
    except HeadstartError as error:
        race.note(f"{name}, {count} labels, seed {seed}: {error}")
        return Cell(name, count, seed, 0.0, 0.0, status="failed", note=str(error))
    seconds = time.perf_counter() - start + answer.before
    value = score(answer.labels, race.gold, kind=race.kind, metric=race.metric).value
    parts = of_each_row(answer.labels, race.gold, metric=race.metric)
    right = "" if parts is None else pack_correct(parts)
    return Cell(
        name,
        count,
        seed,
        float(value),
        seconds,
        dict(answer.settings),
        correct=right,
        once=answer.once,
        before=answer.before,
    )
