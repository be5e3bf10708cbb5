"""The score table of a report: one cell for each arm, label count and seed, kept in `cells.jsonl`.

A cell is one line, written in one piece and flushed to disk, so a report that is killed goes on
with the cells that are done. A torn last line is counted, and cut off before the next cell is
written. Labelled subsets are nested and paired: with one seed, the 50 labels are among the 200,
and every arm sees the same ones.
"""

import base64
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.data.labels import Kind
from headstart.errors import InputError
from headstart.evaluate.statistics import Floats

Setting = str | float | int | bool
Status = Literal["done", "skipped", "failed"]
ArmKind = Literal["control", "scratch", "own", "public"]

BALANCED_ROUNDS = 2  # every class gets this many rows before the rest is shared out by frequency
SIGNIFICANT = np.uint32(
    0xFFFF8000
)  # bits kept of a number: three digits, the rest packs to nothing
_DRAW_STREAM = 0x647261  # keeps these draws apart from other uses of the same seed


@dataclass(frozen=True)
class Arm:
    """One way to solve the task; the title is what a reader sees.

    name: what the settings call it; of several of a kind with a colon and what tells them apart.
    """

    name: str
    kind: ArmKind
    title: str
    title_zh: str

    @property
    def family(self) -> str:
        """What the settings call it and others of its kind."""
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class Cell:
    """One training and its score (a fraction, higher is better) on the test rows.

    seconds: wall-clock time. settings: what repeats it. correct: `pack_correct` of what each
    test row adds to the score, or "" where that is not known. needed: seconds that a cell that was
    begun and given up would have taken. once: seconds of those above for a choice that the other
    seeds of this label count share. before: seconds of those above that all cells of the arm had
    together, for features: no further cell takes them.
    """

    arm: str
    labels: int
    seed: int
    score: float
    seconds: float
    settings: dict[str, Setting] = field(default_factory=dict)
    status: Status = "done"
    note: str = ""
    correct: str = ""
    needed: float = 0.0
    once: float = 0.0
    before: float = 0.0

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies the cell in its table."""
        return (self.arm, self.labels, self.seed)


class ScoreTable:
    """Cells by (arm, labels, seed); a later cell replaces an earlier one with the same key."""

    def __init__(
        self, cells: Sequence[Cell] = (), *, path: Path | None = None, torn: int = 0
    ) -> None:
        self.path = path
        self.torn = torn
        self._cells = {cell.key: cell for cell in cells}

    @classmethod
    def open(cls, path: Path) -> "ScoreTable":
        """Read a table, empty if the file is not there. A torn last line is counted in `.torn`.

        Raises InputError if a line before the last is not a cell.
        """
        raw = path.read_bytes() if path.exists() else b""
        lines = raw.split(b"\n")
        torn = int(bool(lines.pop()))  # what follows the last line end was not finished
        cells = [_parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
        return cls(cells, path=path, torn=torn)

    def append(self, cell: Cell) -> None:
        """Add a cell; on disk before this returns, if the table has a file."""
        if self.path is not None:
            line = json.dumps(asdict(cell), ensure_ascii=False, allow_nan=False) + "\n"
            _append_line(self.path, line.encode())
        self._cells[cell.key] = cell

    def __contains__(self, key: object) -> bool:
        return key in self._cells

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def cells(self) -> list[Cell]:
        """All cells, in the order in which their keys came first."""
        return list(self._cells.values())

    def get(self, arm: str, labels: int, seed: int) -> Cell | None:
        """The cell, or None."""
        return self._cells.get((arm, labels, seed))

    def done(self, arm: str, *, labels: int | None = None) -> list[Cell]:
        """Finished cells of an arm, by labels and seed."""
        chosen = [c for c in self._cells.values() if c.arm == arm and c.status == "done"]
        return sorted(
            (c for c in chosen if labels in (None, c.labels)), key=lambda c: (c.labels, c.seed)
        )

    @property
    def label_counts(self) -> list[int]:
        """Label counts with at least one finished cell, rising."""
        return sorted({c.labels for c in self._cells.values() if c.status == "done"})

    @property
    def seeds(self) -> list[int]:
        """Seeds with at least one finished cell, rising."""
        return sorted({c.seed for c in self._cells.values() if c.status == "done"})

    def scores(self, arms: Sequence[str]) -> Floats:
        """Scores (arms, seeds, label counts), NaN where a cell is not done."""
        counts, seeds = self.label_counts, self.seeds
        table = np.full((len(arms), len(seeds), len(counts)), np.nan)
        for a, arm in enumerate(arms):
            for cell in self.done(arm):
                table[a, seeds.index(cell.seed), counts.index(cell.labels)] = cell.score
        return table

    def correct(self, arms: Sequence[str]) -> npt.NDArray[np.generic] | None:
        """What each test row adds to the score (arms, seeds, label counts, test rows), see
        `evaluate.metrics.of_each_row`; None unless every done cell has it.

        Places of cells that are not done hold 0: read them only where `scores` is finite.
        """
        cells = [cell for arm in arms for cell in self.done(arm)]
        answers = {cell.key: unpack_correct(cell.correct) for cell in cells if cell.correct}
        shapes = {(len(found), found.dtype) for found in answers.values()}
        if not cells or len(answers) < len(cells) or len(shapes) != 1:
            return None
        counts, seeds = self.label_counts, self.seeds
        first = next(iter(answers.values()))
        table = np.zeros((len(arms), len(seeds), len(counts), len(first)), dtype=first.dtype)
        for (arm, labels, seed), right in answers.items():
            table[arms.index(arm), seeds.index(seed), counts.index(labels)] = right
        return table


def expected_seconds(table: ScoreTable, arm: str, labels: int) -> float:
    """What a cell will take, from the arm's cells so far: those of its own label count without what
    they did for all seeds, else the next smaller one in proportion to the labels; 0 if there are
    none yet. Of a label count at which none was finished it is what one that was given up would
    have taken.
    """
    known: dict[int, list[float]] = {}
    for cell in table.done(arm):
        known.setdefault(cell.labels, []).append(cell.seconds - cell.before)
    for cell in table.cells:
        if cell.arm == arm and cell.needed and cell.labels not in known:
            known[cell.labels] = [cell.needed]
    if labels in known:
        shared = sum(cell.once for cell in table.done(arm, labels=labels))
        return float(np.mean(known[labels])) - shared / len(known[labels])
    fewer = [count for count in known if count < labels]
    if not fewer:
        return 0.0
    nearest = max(fewer)
    return float(np.mean(known[nearest])) * labels / nearest


def draw(
    labels: npt.NDArray[np.generic], n: int, *, seed: int, kind: Kind
) -> npt.NDArray[np.int64]:
    """Row numbers of n labelled rows, sorted; nested in n, and a pure function of (labels, seed).

    labels: (N,) integers, (N, C) 0/1 for multilabel, (N,) floats for number. Each class first gets
    up to two rows, then rows come in proportion to the class's frequency. Numbers are spread over
    their quintiles; rows with several labels first cover every label, the rarest first. Raises
    InputError if there are not n rows.
    """
    if not 1 <= n <= len(labels):
        raise InputError(
            f"cannot draw {n} labelled rows out of {len(labels)}: "
            f"choose between 1 and {len(labels)}"
        )
    rng = np.random.default_rng([_DRAW_STREAM, seed])
    if kind == "multilabel":
        order = _cover_every_label(labels, rng)
    elif kind == "number":
        ranks = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
        order = _spread(ranks * 5 // len(labels), rng)
    else:
        order = _spread(labels, rng)
    return np.sort(order[:n])


def pack_correct(right: npt.NDArray[np.generic]) -> str:
    """What each test row adds to the score (test rows,) as text: their number, a colon, and
    hexadecimal bits where a row is right or wrong; else a tilde and compressed numbers in base 64.
    """
    if right.dtype == np.bool_:
        return f"{len(right)}:{np.packbits(right.astype(np.bool_)).tobytes().hex()}"
    short = right.astype("<f4").view("<u4") & SIGNIFICANT
    packed = zlib.compress(short.tobytes(), 9)
    return f"{len(right)}~{base64.b64encode(packed).decode()}"


def unpack_correct(text: str) -> npt.NDArray[np.generic]:
    """The inverse of `pack_correct`."""
    if "~" in text:
        packed = base64.b64decode(text.partition("~")[2])
        return np.frombuffer(zlib.decompress(packed), dtype="<f4").astype(np.float32)
    size, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8))
    return bits[: int(size)].astype(bool)


def _spread(groups: npt.NDArray[np.generic], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """An order of all rows in which every start is spread over the groups."""
    shuffled = rng.permutation(len(groups))
    _, group, counts = np.unique(groups[shuffled], return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(groups), dtype=np.int64)  # number of the row within its group
    rank[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = rng.random(len(counts))[group]
    late = rank >= BALANCED_ROUNDS
    when = np.where(late, BALANCED_ROUNDS + (rank + offset) / counts[group], rank + 0.5 * offset)
    return np.asarray(shuffled[np.argsort(when, kind="stable")])


def _cover_every_label(
    labels: npt.NDArray[np.generic], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    shuffled = rng.permutation(len(labels))
    table = np.asarray(labels)[shuffled] > 0
    first: list[int] = []
    for label in np.argsort(table.sum(axis=0), kind="stable"):
        holders = np.flatnonzero(table[:, label])
        if holders.size and not table[first, label].any():
            first.append(int(holders[0]))
    rest = np.setdiff1d(np.arange(len(labels)), first)
    order = np.concatenate([np.array(first, dtype=np.int64), rest])
    return np.asarray(shuffled[order])


def _parse(line: bytes, path: Path, number: int) -> Cell:
    try:
        values = json.loads(line)
        if not isinstance(values, dict):
            raise TypeError("not an object")
        return Cell(
            **{part.name: values[part.name] for part in fields(Cell) if part.name in values}
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path.name}, line {number}: not a cell of a report ({error}). "
            "Delete this line to compute the cell again"
        ) from error


def _append_line(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        keep = _end_of_last_line(descriptor, size)
        if keep < size:
            os.ftruncate(descriptor, keep)
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Position after the last line end, so that a torn tail can be cut off."""
    position = size
    while position > 0:
        start = max(0, position - 65536)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
