"""The whole report as one frozen value: everything that the page, the file and the terminal show.

`build_report` is pure: a score table, the arms and the facts about data and machine go in,
verdicts and curves come out. It trains nothing, reads no file and knows no model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from headstart.report.cells import Arm, Cell, ScoreTable, expected_seconds
from headstart.report.curves import Point, arm_curve
from headstart.report.verdict import MARGIN, Verdict, judge

SPARE = 1.2  # times the time that is expected


@dataclass(frozen=True)
class Leaks:
    """Corpus documents found again in the test (or training) file, and what was done.

    checked: whether there was a corpus to look into. given: whether the network had been pretrained
    before, so that nothing could be kept from it.
    """

    exact: int = 0
    near: int = 0
    train_test: int = 0  # training rows that are also in the test file
    removed: int = 0  # corpus documents left out of pretraining
    checked: bool = True
    given: bool = False


@dataclass(frozen=True)
class DataSummary:
    """What was read. classes: rows of each class. rows_read = accepted + quarantined + rejected.
    reads: what the rows hold.
    """

    train_source: str
    rows_read: int
    quarantined: int
    rejected: int
    train_rows: int
    test_rows: int
    classes: dict[str, int] = field(default_factory=dict)
    corpus_documents: int = 0
    corpus_tokens: int = 0
    reads: Literal["text", "images"] = "text"


@dataclass(frozen=True)
class Facts:
    """What the table does not know: task, data, leaks, machine, cost and how to repeat it.

    metric: what the scores are. command: as typed, without folders of this machine. cell_command:
    repeats one cell; {arm}, {labels} and {seed} are filled in. environment: names and versions.
    """

    task: str
    metric: str
    data: DataSummary
    leaks: Leaks = Leaks()
    pretrain_seconds: float = 0.0
    budget_seconds: float = 0.0
    spent_seconds: float = 0.0
    command: str = ""
    cell_command: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    date: str = ""


@dataclass(frozen=True)
class Report:
    """A finished report. curves: by arm name. scratch, public: second opinions, None without such
    an arm.
    """

    facts: Facts
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    label_counts: tuple[int, ...]
    seeds: tuple[int, ...]
    curves: dict[str, tuple[Point, ...]]
    verdict: Verdict
    scratch: Verdict | None
    public: Verdict | None
    torn_cells: int = 0

    @property
    def opinions(self) -> dict[str, Verdict]:
        """Second opinions, by what their titles in `words` end with."""
        several = sum(arm.kind == "public" for arm in self.arms) > 1
        found = {"scratch": self.scratch, "publics" if several else "public": self.public}
        return {name: verdict for name, verdict in found.items() if verdict is not None}

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def point(self, name: str, labels: int) -> Point | None:
        """The mean score of an arm at a label count, or None."""
        return next((p for p in self.curves.get(name, ()) if p.labels == labels), None)

    def unfinished(self) -> list[Cell]:
        """Cells that were skipped or failed."""
        return [cell for cell in self.cells if cell.status != "done"]


def budget_for(report: Report, seeds: int) -> str:
    """The --budget with which the same command finishes its table with so many seeds; "" where the
    one that was given will do, or it is not known.

    The time used so far counts, as it does when the report goes on.
    """
    table, budget = ScoreTable(report.cells), report.facts.budget_seconds
    total = report.facts.spent_seconds
    for arm in report.arms:
        for labels in {cell.labels for cell in report.cells}:
            missing = max(0, seeds - len(table.done(arm.name, labels=labels)))
            total += missing * expected_seconds(table, arm.name, labels)
    enough = SPARE * total
    return "" if enough <= budget or not budget else f"{math.ceil(enough / 60)}m"


def build_report(
    table: ScoreTable, arms: Sequence[Arm], facts: Facts, *, margin: float = MARGIN
) -> Report:
    """Judge a score table. The main verdict sets own arms against controls and the from-scratch
    twin.

    Public checkpoints are compared separately: they were paid for by somebody else's pretraining.
    Own arms meet them by the same methods, where there are such: a frozen one is no match for all
    weights.
    """
    own = [arm for arm in arms if arm.kind == "own"]
    scratch = [arm for arm in arms if arm.kind == "scratch"]
    public = [arm for arm in arms if arm.kind == "public"]
    methods = {arm.family.removeprefix("public-") for arm in public}
    likewise = [arm for arm in own if arm.name.removeprefix("own-") in methods] or own
    controls = [arm for arm in arms if arm.kind == "control"] + scratch
    return Report(
        facts=facts,
        arms=tuple(arms),
        cells=tuple(table.cells),
        label_counts=tuple(table.label_counts),
        seeds=tuple(table.seeds),
        curves={arm.name: tuple(arm_curve(table, arm.name)) for arm in arms},
        verdict=judge(table, own, controls, margin=margin),
        scratch=judge(table, own, scratch, margin=margin) if scratch else None,
        public=judge(table, likewise, public, margin=margin) if public else None,
        torn_cells=table.torn,
    )
