"""Label texts to numbers: which kind of label they are, which classes, and which look like slips.

In: the exact label of every row. Out: arrays, class names, and problems.
The surprise: a kind is inferred from all values together, never from the first rows.

Legend: N rows, C classes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from headstart.data.columns import nearest
from headstart.data.record import Problem, Row, problem, quoted, shown
from headstart.data.vocabulary import CJK
from headstart.errors import InputError

Kind = Literal["classes", "multilabel", "number", "text"]

MANY_VALUES = 20  # numeric labels with more distinct values are a quantity, not classes
SEPARATORS = ("|", ";")
MANY_TEXTS = 12  # distinct labels, below which none are taken for texts to be written
_SEVERAL_WORDS = re.compile(rf"\S\s+\S|[{CJK}]\W*[{CJK}]\W*[{CJK}]\W*[{CJK}]")
_PLAIN_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
# how cells say that there is no value
NO_VALUE = frozenset(
    (
        *("na", "n/a", "n.a.", "#n/a", "nan", "null", "none", "nil", "-", "--", "?"),
        *("inf", "+inf", "-inf", "infinity", "-infinity", "#div/0!"),
        *("missing", "unknown", "无", "缺失", "未知"),
    )
)
SHOWN_PLACES = 5
_LOOSE_NUMBER = re.compile(r"\s*[-+]?\d[\d.,]*\s*%?\s*")


def kind_of(values: Sequence[str]) -> tuple[Kind, str]:
    """What the labels are by their looks, and the mark that joins several in a cell."""
    if all(_as_list(value) is not None for value in values):
        return "multilabel", "["
    distinct = set(values)
    if all(_LOOSE_NUMBER.fullmatch(value) or _PLAIN_NUMBER.fullmatch(value) for value in distinct):
        whole = all(re.fullmatch(r"[-+]?\d+", value) for value in distinct)
        if not whole or len(distinct) > MANY_VALUES:
            return "number", ""
    separator = separator_of(values)
    return ("multilabel", separator) if separator else ("classes", "")


def look_written(values: Sequence[str]) -> bool:
    """Whether labels are texts of their own: most occur once, and most are several words long."""
    distinct = set(values)
    if len(distinct) < max(MANY_TEXTS, 0.5 * len(values)):
        return False
    return sum(bool(_SEVERAL_WORDS.search(value)) for value in distinct) > 0.5 * len(distinct)


def _as_list(value: str) -> list[str] | None:
    if not (value.startswith("[") and value.endswith("]")):
        return None
    try:
        items = json.loads(value)
    except ValueError:
        return None
    return [str(item).strip() for item in items] if isinstance(items, list) else None


def separator_of(values: Sequence[str]) -> str:
    """The mark that joins several labels in a cell, whose parts must repeat; "" without one."""
    if all(_as_list(value) is not None for value in values):
        return "["
    for mark in SEPARATORS:
        joined = [value for value in values if mark in value]
        parts = Counter(part.strip() for value in values for part in value.split(mark))
        if not joined or len(parts) >= len(set(values)) or "" in parts:
            continue
        if min(parts[part.strip()] for value in joined for part in value.split(mark)) > 1:
            return mark
    return ""


def split_label(value: str, separator: str) -> list[str]:
    """The labels in one cell: a JSON list ("["), joined by a mark, or a single one ("")."""
    if separator == "[":
        return _as_list(value) or []
    if not separator:
        return [value]
    return [part.strip() for part in value.split(separator) if part.strip()]


def as_labels(
    kept: Sequence[tuple[Row, str, str]],
    kind: Kind,
    separator: str,
    classes: Sequence[str] | None,
    column: str,
) -> tuple[np.ndarray, list[str], list[Problem]]:
    """Labels of rows given as (row, text, label), the class names, and what is wrong with them."""
    if kind == "text":
        texts = np.empty(len(kept), dtype=object)
        texts[:] = [value for _, _, value in kept]
        return texts, [], []
    if kind == "number":
        numbers, wrong = _numbers(kept, column)
        return numbers, [], wrong
    parts = [split_label(value, separator if kind == "multilabel" else "") for _, _, value in kept]
    names = list(classes) if classes is not None else class_names(p for row in parts for p in row)
    if len(names) < 2 and kind == "classes":
        raise InputError(
            f"{kept[0][0].source}: every row has the label {quoted(names[0])}, so there is nothing "
            "to tell apart. Add rows of another class."
        )
    number = {name: place for place, name in enumerate(names)}
    wrong = [
        unknown_label(row, column, part, names)
        for (row, _, _), row_parts in zip(kept, parts, strict=True)
        for part in row_parts
        if part not in number
    ]
    if wrong:
        return np.zeros(0), names, wrong
    if kind == "classes":
        return np.asarray([number[row[0]] for row in parts], dtype=np.int64), names, []
    labels = np.zeros((len(parts), len(names)), dtype=np.float32)
    for place, row_parts in enumerate(parts):
        labels[place, [number[part] for part in row_parts]] = 1
    return labels, names, []


def class_names(values: Iterable[str]) -> list[str]:
    """Distinct names in a fixed order: numbers by size, else by characters."""
    names = set(values)
    if all(re.fullmatch(r"[-+]?\d+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def unknown_label(row: Row, column: str, value: str, names: Sequence[str]) -> Problem:
    """A label that is none of the known classes, with the one it is most like."""
    near = nearest(value, names)
    known = ", ".join(shown(name, most=30) for name in names[:10]) + (
        ", ..." if len(names) > 10 else ""
    )
    return problem(
        17,
        "reject",
        source=row.source,
        line=row.line,
        column=column,
        value=value,
        message=f"{quoted(value)} is not a known label ({known})."
        + (f" Did you mean {quoted(near)}?" if near else ""),
        fix="Fix the line, or add rows of this class to the training file.",
    )


def no_value_among_numbers(
    values: Iterable[str], places: Sequence[str], source: str, column: str
) -> list[Problem]:
    """A warning where NA and its like stand among numbers, which makes classes of all of them.

    values: the labels, at least each once. places: of those in NO_VALUE, the lines or images.
    """
    distinct = set(values)
    words = sorted(value for value in distinct if value.casefold() in NO_VALUE)
    numbers = [value for value in distinct if value.casefold() not in NO_VALUE]
    if not words or len(numbers) < 2 or not all(map(_PLAIN_NUMBER.fullmatch, numbers)):
        return []
    fix = "Leave these cells empty, and the rows are set aside."
    if kind_of(numbers)[0] == "number":
        fix = "Leave these cells empty: the rows are set aside, and the labels are numbers."
    where = ", ".join(places[:SHOWN_PLACES]) + (", ..." if len(places) > SHOWN_PLACES else "")
    message = (
        f"{len(places)} labels say that there is none ({', '.join(map(quoted, words))}) among "
        f"numbers, so all are taken for classes: rows {where}."
    )
    return [problem(63, "warn", source=source, column=column, message=message, fix=fix)]


def _numbers(kept: Sequence[tuple[Row, str, str]], column: str) -> tuple[np.ndarray, list[Problem]]:
    wrong = [
        problem(
            31,
            "reject",
            source=row.source,
            line=row.line,
            column=column,
            value=value,
            message=f"{quoted(value)} is not a plain number.",
            fix="Leave the cell empty, and the row is set aside."
            if value.casefold() in NO_VALUE
            else "Write numbers like 1234.5, without %, spaces or thousands marks.",
        )
        for row, _, value in kept
        if not _PLAIN_NUMBER.fullmatch(value) or not np.isfinite(float(value))
    ]
    if wrong:
        return np.zeros(0), wrong
    return np.asarray([float(value) for _, _, value in kept], dtype=np.float32), []


def class_warnings(
    values: Sequence[str], separator: str, kind: Kind, source: str, column: str
) -> list[Problem]:
    """Classes seen once, and rare ones spelled much like a common one."""
    counts = Counter(
        part for v in values for part in split_label(v, separator if kind == "multilabel" else "")
    )
    warnings = []
    for name, times in sorted(counts.items()):
        common = [other for other in counts if counts[other] >= 20 * times and other != name]
        near = _alike(name, common)
        if near:
            rows = "1 row" if times == 1 else f"{times} rows"
            message = f"{quoted(name)} ({rows}) is much like {quoted(near)} ({counts[near]})."
            fix = f"If it is a slip, write {quoted(near)}."
        elif times == 1:
            message = f"the class {quoted(name)} has a single row, too few to learn or to test."
            fix = "Add rows of this class, or remove it."
        else:
            continue
        number = 32 if near else 24
        warnings.append(
            problem(
                number,
                "warn",
                source=source,
                column=column,
                value=name,
                message=message,
                fix=fix,
            )
        )
    return warnings


def _alike(name: str, common: Sequence[str]) -> str:
    """The common name that differs by case, look-alike letters or one slip in five letters."""
    folded = name.casefold().translate(_LOOK_ALIKE)
    for other in common:
        if other.casefold().translate(_LOOK_ALIKE) == folded:
            return other
    if len(name) < 5 or name.isdigit():
        return ""
    return nearest(
        name, [other for other in common if abs(len(other) - len(name)) <= 1 and len(other) > 4]
    )


_LOOK_ALIKE = str.maketrans("аеорсухівкмнт", "aeopcyxibkmht")
