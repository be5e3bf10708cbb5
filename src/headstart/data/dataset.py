"""Labelled files and unlabelled corpora as the rest of the house takes them.

In: paths. Out: `Labelled` (held in memory) and `Corpus` (streamed, as often as asked for).
Columns, kind and classes are inferred and echoed in `note`; every row is accepted, quarantined or
rejected, and counted.
The surprise: labels are exact text, so "NA", "None" and "007" are classes like any other.

Legend: N rows accepted, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.data.columns import likely_text, missing_column, other_half, text_of
from headstart.data.corpus import BadRows, Corpus, CorpusReport
from headstart.data.delimited import LABEL_NAMES, TARGET_NAMES
from headstart.data.files import Row, absent, is_table, list_files, no_rows, read_rows
from headstart.data.labels import (
    NO_VALUE,
    Kind,
    as_labels,
    class_warnings,
    kind_of,
    look_written,
    no_value_among_numbers,
    separator_of,
)
from headstart.data.record import Problem, problem, shown, stop_at
from headstart.errors import InputError

__all__ = ["BadRows", "Corpus", "CorpusReport", "Kind", "Labelled", "load_labelled"]


@dataclass(frozen=True)
class Labelled:
    """A labelled file.

    labels: (N,) int64 class numbers; (N, C) float32 of 0 and 1 for multilabel; (N,) float32 for
        numbers; (N,) str objects for texts. classes: names by class number; numbers and texts have
        none.
    lines: (N,) where each row stands in `source`.
    rows: in the file; rows = N + quarantined. problems: quarantined rows and warnings.
    note: one line that says what was inferred.
    """

    texts: list[str]
    labels: np.ndarray
    kind: Kind
    classes: list[str]
    text_column: str
    label_column: str
    source: str
    lines: np.ndarray
    rows: int = 0
    quarantined: int = 0
    problems: tuple[Problem, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, chosen: np.ndarray) -> Labelled:
        """The chosen rows, in the order given; classes stay as they are."""
        texts = [self.texts[number] for number in np.asarray(chosen).tolist()]
        return Labelled(
            texts,
            self.labels[chosen],
            self.kind,
            self.classes,
            self.text_column,
            self.label_column,
            self.source,
            self.lines[chosen],
            note=self.note,
        )


def load_labelled(
    path: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    kind: Kind | Literal["auto"] = "auto",
    classes: Sequence[str] | None = None,
    encoding: str | None = None,
    bad_rows: BadRows = "stop",
    written: bool = False,
) -> Labelled:
    """Read a labelled file; columns, kind and classes are inferred unless given.

    text: the column, or several as "title+body". Rows with empty text or label are quarantined.
    kind: by default "multilabel" for lists or labels joined by | or ;, "number" for numbers with
        decimals or more than twenty values, "text" where almost every row has a text of its own,
        else "classes".
    classes: the known ones (of the training file); any other label is then a problem.
    bad_rows: "skip" quarantines rows that cannot be read instead of stopping.
    written: whether labels may be texts that are to be written; otherwise they are refused.
    Raises InputError that lists up to twenty problems with file, line, column, value and fix.
    """
    source = str(path)
    found, problems, quarantined = _read_all(path, encoding, bad_rows)
    text_column, label_column = find_columns(found, source, text, label, written=kind == "text")
    if text is None:
        others = [name for name in found[0].fields if name != label_column]
        problems = other_half(others, text_column, source) + problems
    kept, set_aside = _split_filled(found, text_column, label_column)
    stop_at([p for p in set_aside if p.outcome == "reject"])
    problems += set_aside
    quarantined += len(set_aside)
    if not kept:
        raise InputError(f"{source}: no row has both a text and a label. Check the columns.")
    values = [value for _, _, value in kept]
    chosen, separator = kind_of(values) if kind == "auto" else (kind, separator_of(values))
    guessed = kind == "auto" and chosen == "classes" and classes is None and look_written(values)
    if guessed:
        chosen = "text"
    if chosen == "text" and not written:
        raise InputError(
            f"{source}: the labels in column {shown(label_column)!r} are texts to be written, "
            "which only headstart finetune learns. If they are classes, say so with --task classes "
            "or data.kind: classes"
        )
    labels, names, wrong = as_labels(kept, chosen, separator, classes, label_column)
    stop_at(wrong)
    mixed: list[Problem] = []
    if kind == "auto" and classes is None and chosen == "classes":
        lines = [str(row.line) for row, _, value in kept if value.casefold() in NO_VALUE]
        mixed = no_value_among_numbers(values, lines, source, label_column)
        problems = mixed + problems
    if chosen in ("classes", "multilabel") and not mixed:
        problems += class_warnings(values, separator, chosen, source, label_column)
    note = (
        f"{Path(source).name}: text {shown(text_column)!r}, label {shown(label_column)!r}, "
        + (f"{chosen} ({len(names)})" if names else chosen)
        + (" to be written (--task classes: take them for classes)" if guessed else "")
        + f", {len(kept)} rows"
        + (f", {quarantined} quarantined" if quarantined else "")
    )
    return Labelled(
        [words for _, words, _ in kept],
        labels,
        chosen,
        names,
        text_column,
        label_column,
        source,
        np.asarray([row.line for row, _, _ in kept], dtype=np.int64),
        len(kept) + quarantined,
        quarantined,
        tuple(problems),
        note,
    )


def _read_all(
    path: str | Path, encoding: str | None, bad_rows: BadRows
) -> tuple[list[Row], list[Problem], int]:
    if not Path(path).is_file():
        raise InputError(_no_table(Path(path)))
    rows: list[Row] = []
    problems: list[Problem] = []
    for item in read_rows(path, encoding=encoding):
        if isinstance(item, Row):
            rows.append(item)
        else:
            problems.append(item)
    rejected = [one for one in problems if one.outcome == "reject"]
    if bad_rows == "stop" or not rows:
        stop_at(rejected)
    stop_at([one for one in rejected if one.line == 0])
    if not rows:
        stop_at([no_rows(str(path))])
    return rows, problems, sum(one.outcome != "warn" for one in problems)


def _no_table(path: Path) -> str:
    """What to say of a path that is not the one file of labelled texts."""
    if not path.is_dir():
        return absent(path)
    tables = [one for one in list_files([path]) if is_table(one)]
    if not tables:
        return (
            f"{path} is a folder of texts without labels, but labelled texts stand in one table: "
            "give a csv, tsv, jsonl or parquet file with a column of texts and one of labels"
        )
    if len(tables) > 1:
        return (
            f"{path} is a folder, but labelled texts are read from one file: give one of its "
            f"{len(tables)} tables, such as {tables[0]}"
        )
    return f"{path} is a folder, but labelled texts are read from one file: give {tables[0]}"


def find_columns(
    rows: Sequence[Row],
    source: str,
    text: str | None,
    label: str | None,
    *,
    written: bool = False,
) -> tuple[str, str]:
    """Text and label column: as given, else by name, else by their values.

    written: whether labels are texts, whose column may be named like a summary or an answer.
    """
    columns = list(dict.fromkeys(name for row in rows[:200] for name in row.fields))
    for role, wanted in (("text", text), ("label", label)):
        if wanted is not None and wanted not in columns:
            lacking = next((w for w in wanted.split("+") if w not in columns), None)
            if lacking is not None or role == "label":
                stop_at([missing_column(rows[0], lacking or wanted, role)])
    if label is None:
        others = [column for column in columns if column != text]
        target = column_named(others, TARGET_NAMES) if len(others) + bool(text) > 1 else None
        if written:
            label = label_by_name(others) or target or _shorter(rows[:1000], others, text)
        else:
            label = likely_label(rows, others) or target
    if label is None:
        raise InputError(
            f"{source}: no column looks like labels (found: {', '.join(map(shown, columns))}). "
            "Name it with --label COLUMN."
        )
    if text is None:
        others = [column for column in columns if column != label]
        if not others:
            raise InputError(
                f"{source}: the only column is {label!r}, but a text and a label are needed."
            )
        text = likely_text(rows[:1000], others)
    return text, label


def _shorter(sample: Sequence[Row], columns: Sequence[str], text: str | None) -> str | None:
    """Of what are two columns together with the text's, the one that is not the text."""
    if len(columns) + (text is not None) != 2:
        return None
    longest = text or likely_text(sample, columns)
    return next(column for column in columns if column != longest)


def label_by_name(columns: Sequence[str]) -> str | None:
    """The column named like labels, if there is one."""
    return column_named(columns, LABEL_NAMES)


def column_named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has the first of these names that any has."""
    named = {column.strip().casefold(): column for column in reversed(columns)}
    return next((named[name] for name in names if name in named), None)


def likely_label(rows: Sequence[Row], columns: Sequence[str]) -> str | None:
    """The column named like labels, else the one with the fewest values that is never blank."""
    known = label_by_name(columns)
    if known is not None:
        return known
    if len(columns) < 2:
        return None
    longest = likely_text(rows[:1000], columns)
    best, fewest = None, max(2, len(rows) // 2)
    for column in columns:
        if column == longest:
            continue
        values = [row.fields.get(column, "").strip() for row in rows]
        distinct = len(set(values))
        if values.count("") <= 0.05 * len(rows) and 1 < distinct <= fewest:
            best, fewest = column, distinct - 1
    return best


def _split_filled(
    rows: Sequence[Row], text: str, label: str
) -> tuple[list[tuple[Row, str, str]], list[Problem]]:
    """(row, text, label) where both are there, and a problem for every other row."""
    kept: list[tuple[Row, str, str]] = []
    problems: list[Problem] = []
    for row in rows:
        found = filled(row, text, label)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            kept.append((row, *found))
    return kept, problems


def filled(row: Row, text: str, label: str | None) -> tuple[str, str] | Problem:
    """The row's text and label ("" if no label is wanted), or which of them is missing or empty."""
    words = text_of(row, text)
    if isinstance(words, Problem):
        return words
    value = "" if label is None else row.fields.get(label)
    if value is None:
        return missing_column(row, label or "", "label")
    bare = not words.strip()
    if bare or (label is not None and not value.strip()):
        return _blank(row, text if bare else label or "", is_text=bare)
    return words, value.strip()


def _blank(row: Row, column: str, *, is_text: bool) -> Problem:
    return problem(
        22 if is_text else 23,
        "quarantine",
        source=row.source,
        line=row.line,
        column=column,
        message=f"the {'text' if is_text else 'label'} is empty.",
        fix="Fill it in, or remove the row.",
    )
