"""Look through data before it is used: every problem in one pass, every record counted.

In: paths. Out: a `CheckReport`. Records are streamed; of each only a hash of its text and its label
are kept.
The surprise: a check never stops at the first problem, and it opens the test file only when asked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from headstart.data.columns import likely_text, missing_column, other_half, parts_of
from headstart.data.content import (
    MOST_CLASSES,
    Content,
    Lengths,
    LongTexts,
    label_warnings,
    texts_in_json,
    unread_texts,
)
from headstart.data.corpus import Corpus
from headstart.data.dataset import filled, label_by_name, likely_label
from headstart.data.files import (
    Document,
    Row,
    Shape,
    list_files,
    look_at,
    read_documents,
    read_rows,
)
from headstart.data.image_leaks import ImageLeakReport
from headstart.data.labels import NO_VALUE, look_written
from headstart.data.leaks import LeakReport, find_leaks
from headstart.data.record import Outcome, Problem, problem, quoted, shown

__all__ = ["CheckReport", "Outcome", "Problem", "check_data"]

SAMPLE_ROWS = 1000
MOST_WORDS = (128, 64)  # of a text that is read, and of one that is written
MOST_TEXTS = 1_000_000  # remembered, for finding duplicates


@dataclass(frozen=True)
class CheckReport:
    """What a check found: rows = accepted + quarantined + rejected, over all files but the test's.

    problems: all of them; warnings change no row. notes: how each file is read.
    classes: how often each label occurs. duplicates: rows whose text stood in an earlier row.
    leaks: of the test file, where one was given. long: texts to be written, and those after which
    they are, of which a model would see the beginning only.
    """

    rows: int
    accepted: int
    quarantined: int
    rejected: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    classes: dict[str, int]
    duplicates: int
    leaks: LeakReport | ImageLeakReport | None = None
    long: tuple[LongTexts, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing was rejected and some row was accepted."""
        return self.accepted > 0 and not any(one.outcome == "reject" for one in self.problems)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows: {self.accepted} accepted, {self.quarantined} quarantined, "
            f"{self.rejected} rejected; {len(self.classes)} classes, {self.duplicates} duplicates"
        )


@dataclass
class _Tally:
    """What is known so far."""

    accepted: int = 0
    duplicates: int = 0
    records: Counter[Outcome] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    labelled: dict[bytes, str] = field(default_factory=dict)
    room: tuple[int, int] = MOST_WORDS
    long: list[LongTexts] = field(default_factory=list)

    def add(self, found: Problem, *, told: bool = False) -> None:
        """Count it. told: it has been said once for the whole file."""
        if not told:
            self.problems.append(found)
        if found.line:
            self.records[found.outcome] += 1


def check_data(
    paths: str | Path | Sequence[str | Path],
    *,
    text: str | None = None,
    label: str | None = None,
    test: str | Path | None = None,
    encoding: str | None = None,
    room: tuple[int, int] = MOST_WORDS,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Read every record under the paths and report all that is wrong with them.

    text, label: columns of tables; by default the text is found as in `load_labelled`, the label by
        its name (or by its values in a table without a header).
    test: a test file, to be checked for its classes and for leaks into the data.
    room: most words of a text that is read, and of one that is written after it.
    progress: called with the number of rows done, every thousand.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files = list_files(given)
    tally = _Tally(room=room)
    tables: list[Shape] = []
    for path in files:
        shape = look_at(path, encoding=encoding, text=label is None)
        if isinstance(shape, Problem):
            tally.add(shape if len(files) == 1 else _milder(shape))
            continue
        tally.notes.append(f"{path.name}: {shape.note}")
        if shape.format == "text":
            _check_text(path, encoding, tally, progress)
        else:
            tables += [shape] if shape.columns else []
            _check_table(path, shape, text, label, encoding, tally, progress)
    tally.problems += _shards(tables)
    leaks = None
    if test is not None:
        leaks = _check_test(given, test, text, label, encoding, tally)
    counts = tally.records
    return CheckReport(
        tally.accepted + counts["quarantine"] + counts["reject"],
        tally.accepted,
        counts["quarantine"],
        counts["reject"],
        tuple(tally.problems),
        tuple(tally.notes),
        dict(sorted(tally.classes.items())),
        tally.duplicates,
        leaks,
        tuple(tally.long),
    )


def _milder(found: Problem) -> Problem:
    """An empty file among others is only worth a warning."""
    if not found.code.endswith("005"):
        return found
    return problem(5, "warn", source=found.source, message=found.message, fix=found.fix)


def _check_text(
    path: Path, encoding: str | None, tally: _Tally, progress: Callable[[int], None] | None
) -> None:
    content = Content()
    for item in read_documents([path], encoding=encoding):
        if isinstance(item, Document):
            content.look(item.text, item.line, "")
            _accept(tally, item.text, "", progress)
        else:
            tally.add(item)
    tally.problems += content.problems(str(path))


def _check_table(
    path: Path,
    shape: Shape,
    text: str | None,
    label: str | None,
    encoding: str | None,
    tally: _Tally,
    progress: Callable[[int], None] | None,
) -> None:
    source = str(path)
    rows = read_rows(path, encoding=encoding)
    start = list(islice(rows, SAMPLE_ROWS))
    sample = [row for row in start if isinstance(row, Row)]
    if not sample:
        for item in start:
            assert isinstance(item, Problem), "no row is among them"
            tally.add(item)
        return
    label_column = label or _find_label(shape, sample)
    others = [column for column in shape.columns if column != label_column]
    text_column = text or likely_text(sample, others or list(shape.columns))
    if text is None:
        tally.problems += (
            other_half(others, text_column, source)
            if label_column is not None
            else unread_texts(sample, shape.columns, text_column, source)
        )
    tally.problems += texts_in_json(sample, text_column, source)
    absent = _absent(sample[0], shape, text_column, label)
    if absent:
        tally.problems += absent
    classes: Counter[str] = Counter()
    lacking: list[str] = []
    content, lengths = Content(), _lengths(sample, text_column, label_column, tally.room)
    for row in chain(start, rows):
        if isinstance(row, Problem):
            tally.add(row)
            continue
        found = filled(row, text_column, label_column)
        if isinstance(found, Problem):
            tally.add(found, told=bool(absent) and found.code == absent[0].code)
            continue
        words, value = found
        content.look(words, row.line, text_column)
        if label_column is not None and len(classes) < MOST_CLASSES:
            classes[value] += 1
        if value.casefold() in NO_VALUE:
            lacking.append(str(row.line))
        content.look_beside(row, text_column)
        for each, long in zip((words, value), lengths, strict=False):
            long.look(each, row.line)
        _accept(tally, words, value, progress, row=row, column=label_column or "")
    tally.problems += content.problems(source)
    tally.long += [one for each in lengths for one in each.long(source)]
    if label_column is not None and classes:
        tally.problems += label_warnings(classes, lacking, source, label_column)
        tally.classes += classes
        tally.notes[-1] += f"; text {shown(text_column)!r}, label {shown(label_column)!r}"
    else:
        tally.notes[-1] += f"; text {shown(text_column)!r}"


def _lengths(
    sample: Sequence[Row], text: str, label: str | None, room: tuple[int, int]
) -> tuple[Lengths, ...]:
    """Counts of words, where labels are texts to be written; none otherwise."""
    if label is None:
        return ()
    found = [filled(row, text, label) for row in sample]
    if not look_written([one[1] for one in found if not isinstance(one, Problem)]):
        return ()
    read, written = room
    return Lengths(text, True, read), Lengths(label, False, written)


def _absent(row: Row, shape: Shape, text: str, label: str | None) -> list[Problem]:
    """Named columns that the file does not have, once for the whole file."""
    wanted = [("text", name) for name in parts_of(text, shape.columns)]
    wanted += [("label", label)] if label is not None else []
    return [
        missing_column(Row(row.source, 0, dict.fromkeys(shape.columns, "")), name, role)
        for role, name in wanted
        if name not in shape.columns and name not in row.fields
    ]


def _find_label(shape: Shape, sample: Sequence[Row]) -> str | None:
    named = label_by_name(shape.columns)
    if named is not None or not all(name.startswith("column_") for name in shape.columns):
        return named
    return likely_label(sample, list(shape.columns))


def _accept(
    tally: _Tally,
    text: str,
    label: str,
    progress: Callable[[int], None] | None,
    *,
    row: Row | None = None,
    column: str = "",
) -> None:
    tally.accepted += 1
    if progress is not None and tally.accepted % 1000 == 0:
        progress(tally.accepted)
    key = hashlib.blake2b(text.strip().encode("utf-8", "replace"), digest_size=12).digest()
    before = tally.labelled.get(key)
    if before is None:
        if len(tally.labelled) < MOST_TEXTS:
            tally.labelled[key] = label
        return
    tally.duplicates += 1
    if before != label and row is not None and column:
        tally.problems.append(
            problem(
                34,
                "warn",
                source=row.source,
                line=row.line,
                column=column,
                value=label,
                message=(
                    f"the same text has the label {quoted(before)} in an earlier row "
                    f"and {quoted(label)} here."
                ),
                fix="Keep one of the two.",
            )
        )


def _shards(shapes: Sequence[Shape]) -> Iterator[Problem]:
    """Tables that do not have the columns of the first one."""
    for shape in shapes[1:]:
        if set(shape.columns) != set(shapes[0].columns):
            yield problem(
                35,
                "warn",
                source=shape.source,
                message=(
                    f"its columns ({', '.join(map(shown, shape.columns))}) are not those of "
                    f"{Path(shapes[0].source).name} ({', '.join(map(shown, shapes[0].columns))})."
                ),
                fix="If the files belong together, give them the same columns.",
            )


def _check_test(
    paths: Sequence[str | Path],
    test: str | Path,
    text: str | None,
    label: str | None,
    encoding: str | None,
    tally: _Tally,
) -> LeakReport:
    own = check_data(test, text=text, label=label, encoding=encoding)
    tally.problems += own.problems
    tally.notes += own.notes
    for name in own.classes if tally.classes else ():
        if name not in tally.classes:
            tally.problems.append(
                problem(
                    25,
                    "warn",
                    source=str(test),
                    value=name,
                    message=f"the class {quoted(name)} is only in the test file.",
                    fix="Add training rows of this class, or correct its spelling.",
                )
            )
    tested = [d.text for d in Corpus(test, text, encoding, bad_rows="skip")]
    same = Path(test).resolve()
    others = [path for path in list_files(paths) if path.resolve() != same]
    leaks = find_leaks(Corpus(others, text, encoding, bad_rows="skip"), test=tested)
    if leaks.drop:
        tally.problems.append(
            problem(
                37,
                "warn",
                source=str(test),
                message=f"{leaks}.",
                fix="They are left out of pretraining; remove them from training data.",
            )
        )
    return leaks
