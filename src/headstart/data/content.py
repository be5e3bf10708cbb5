"""What a check notices in the content of records: text, spreadsheet damage, labels.

In: records, one at a time. Out: warnings, gathered so that one line stands for many records. None
of them changes a record.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headstart.data.labels import (
    class_warnings,
    kind_of,
    look_written,
    no_value_among_numbers,
)
from headstart.data.personal import PersonalCounts, Where
from headstart.data.record import Problem, Row, problem, quoted, shown
from headstart.data.vocabulary import CJK

UNREAD_SHARE = 0.25  # of the read column's characters, from which another is worth a word
MOST_CLASSES = 10_000  # beyond, labels are not looked at as classes

_CONTENT: tuple[tuple[int, re.Pattern[str], str, str], ...] = (
    (
        26,
        re.compile("[\x00-\x08\x0e-\x1f\x7f]"),
        "control characters",
        "Remove them if they are not meant; they are kept as they stand.",
    ),
    (
        27,
        re.compile("Ã[\x80-\xbf]|â€[\x99\x9c\x9d™œ˜¦]|[\ufffd]|ï»¿"),
        "letters broken by a wrong encoding",
        "Decode the source again from its original bytes.",
    ),
    (
        28,
        re.compile("[\u0300-\u036f]{20}|[\ufdd0-\ufdef\ufffe\uffff]|[\ue000-\uf8ff]"),
        "piled-up accents, private or forbidden characters",
        "Remove them if they are not meant; they are kept as they stand.",
    ),
)
_YES_NO = frozenset(("true", "false", "yes", "no", "1", "0", "y", "n", "t", "f"))
_DATE_LIKE = re.compile(r"\d{1,2}-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)")
_SCIENTIFIC = re.compile(r"\d(\.\d+)?E\+\d+")


_WORD = re.compile(f"[{CJK}]|[^\\s{CJK}]+")


def count_words(text: str) -> int:
    """Words between blanks; a CJK character is one of its own."""
    return len(_WORD.findall(text))


@dataclass(frozen=True)
class LongTexts:
    """Texts of one column with more than `most` words: how many of how many, and the longest.

    read: whether they are read, rather than written after others.
    """

    source: str
    column: str
    read: bool
    count: int
    rows: int
    most: int
    longest: int
    line: int


@dataclass
class Lengths:
    """Words of the texts of one column, gathered row by row."""

    column: str
    read: bool
    most: int
    count: int = 0
    rows: int = 0
    longest: int = 0
    line: int = 0

    def look(self, text: str, line: int) -> None:
        """Count one text."""
        words = count_words(text)
        self.rows += 1
        self.count += words > self.most
        if words > self.longest:
            self.longest, self.line = words, line

    def long(self, source: str) -> list[LongTexts]:
        """What is too long, if anything is."""
        if not self.count:
            return []
        return [
            LongTexts(
                source,
                self.column,
                self.read,
                self.count,
                self.rows,
                self.most,
                self.longest,
                self.line,
            )
        ]


@dataclass
class Content:
    """Warnings about one file, gathered: how many records, and where the first is.

    personal: how many records hold each kind of personal data, and where the first is.
    damage: by column, how many short cells look rewritten by a spreadsheet, and how many do not.
    """

    counts: Counter[int] = field(default_factory=Counter)
    first: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    personal: PersonalCounts[tuple[int, str]] = field(default_factory=PersonalCounts)
    damage: dict[str, Counter[bool]] = field(default_factory=dict)

    def look(self, text: str, line: int, column: str) -> None:
        """Note what is odd about one text."""
        self.personal.look(text, (line, column))
        if text.isascii() and text.isprintable():
            return
        for number, pattern, _, _ in _CONTENT:
            if pattern.search(text):
                self.counts[number] += 1
                self.first.setdefault(number, (line, column, text))

    def look_beside(self, row: Row, text: str) -> None:
        """Note damage in a row's columns other than its text."""
        for name, value in row.fields.items():
            if name != text and 0 < len(value) <= 12:
                hurt = bool(_DATE_LIKE.fullmatch(value) or _SCIENTIFIC.fullmatch(value))
                self.damage.setdefault(name, Counter())[hurt] += 1

    def problems(self, source: str) -> Iterator[Problem]:
        """All warnings about the file."""
        yield from self._odd_texts(source)
        yield from self.personal.problems(source, "texts", where=lambda at: Where(*at))
        yield from self._damaged(source)

    def _odd_texts(self, source: str) -> Iterator[Problem]:
        for number, _, what, fix in _CONTENT:
            if number in self.first:
                line, column, text = self.first[number]
                times = self.counts[number]
                message = f"{times} texts hold {what}, first here: {quoted(text)}."
                yield problem(
                    number,
                    "warn",
                    source=source,
                    line=line,
                    column=column,
                    value=text,
                    message=message if times > 1 else f"the text holds {what}: {quoted(text)}.",
                    fix=fix,
                )

    def _damaged(self, source: str) -> Iterator[Problem]:
        for name, counts in self.damage.items():
            if counts[True] and counts[False]:
                yield problem(
                    29,
                    "warn",
                    source=source,
                    column=name,
                    message=(
                        f"{counts[True]} cells look rewritten by a spreadsheet "
                        "(names as dates like 2-Sep, or long ids like 1.2E+15)."
                    ),
                    fix="Export the column again as text.",
                )


def label_warnings(
    classes: Counter[str], lacking: Sequence[str], source: str, column: str
) -> list[Problem]:
    """What is odd about the labels of a column.

    classes: how often each occurs. lacking: the lines of those that say that there is none.
    """
    kind, separator = kind_of(list(classes))
    found = no_value_among_numbers(classes, lacking, source, column)
    if found:
        return found  # numbers are no rare classes
    spelled = {value.casefold() for value in classes}
    if len(spelled) > 2 and spelled <= _YES_NO:
        found.append(
            problem(
                29,
                "warn",
                source=source,
                column=column,
                message=f"yes and no are spelled in {len(classes)} ways: "
                f"{', '.join(quoted(value) for value in sorted(classes))}.",
                fix="Spell each class one way.",
            )
        )
    values = list(classes.elements())
    texts = kind == "classes" and look_written(values)
    if kind != "number" and not texts and len(classes) < MOST_CLASSES:
        found += class_warnings(values, separator, kind, source, column)
    return found


def unread_texts(
    sample: Sequence[Row], columns: Sequence[str], text: str, source: str
) -> list[Problem]:
    """A warning if columns of a table without labels hold texts beside the one that is read."""
    values = {name: [row.fields.get(name, "") for row in sample] for name in columns}
    least = UNREAD_SHARE * sum(map(len, values.get(text, ())))
    others = [
        name
        for name, cells in values.items()
        if name != text and sum(map(len, cells)) >= least and look_written(cells)
    ]
    if not others:
        return []
    every = shlex.quote("+".join(name for name in columns if name == text or name in others))
    return [
        problem(
            65,
            "warn",
            source=source,
            message=f"only the column '{shown(text)}' is read, but texts stand in "
            f"{', '.join(map(shown, others))} too.",
            fix=f"Write --text {every} to read them as one text.",
        )
    ]


def texts_in_json(sample: Sequence[Row], text: str, source: str) -> list[Problem]:
    """A warning if most texts of a column are JSON objects, or lists of them."""
    filled = [(row.line, row.fields[text]) for row in sample if row.fields.get(text)]
    found = [(line, value) for line, value in filled if _is_objects(value)]
    if not found or 2 * len(found) <= len(filled):
        return []
    return [
        problem(
            69,
            "warn",
            source=source,
            line=found[0][0],
            column=text,
            message="the texts are JSON objects, which are read as they stand, with their names "
            f"and brackets: {quoted(found[0][1])}.",
            fix="Write the words alone into a column of their own.",
        )
    ]


def _is_objects(value: str) -> bool:
    if not value.startswith(("{", "[{")):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True
