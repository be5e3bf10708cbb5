"""What reading a file gives: rows, documents, and problems with one grammar of messages.

A problem's outcome says what became of it: "warn" changes nothing, "quarantine" sets one record
aside and counts it, "reject" means that the input cannot be used as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.errors import InputError
from headstart.words import escaped

Outcome = Literal["reject", "quarantine", "warn"]

LONGEST_SHOWN = 80
SHOWN_PROBLEMS = 20
_LETTERS: dict[Outcome, str] = {"reject": "E", "quarantine": "Q", "warn": "W"}


@dataclass(frozen=True)
class Row:
    """One record of a tabular file; every value is its exact text.

    line: of the file where the record begins, or the record's number in JSON lists and Parquet.
    """

    source: str
    line: int
    fields: dict[str, str]


@dataclass(frozen=True)
class Document:
    """One piece of text, and where it began."""

    text: str
    source: str
    line: int


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file (line 0) or with one of its records.

    code: like "E-DATA-007"; the number names the kind of problem, whatever its outcome.
    column, value: "" where there is none. fix: what to do, one or two sentences.
    """

    code: str
    source: str
    line: int
    column: str
    value: str
    message: str
    fix: str
    outcome: Outcome

    def __str__(self) -> str:
        place = shown(self.source, most=400) + (f":{self.line}" if self.line else "")
        column = f' column "{shown(self.column)}"' if self.column else ""
        return f"{self.code} {place}{column}: {self.message} {self.fix}".rstrip()


def problem(
    number: int,
    outcome: Outcome,
    *,
    source: str,
    line: int = 0,
    column: str = "",
    value: str = "",
    message: str,
    fix: str,
) -> Problem:
    """A problem whose code carries its outcome: E rejected, Q quarantined, W warning."""
    code = f"{_LETTERS[outcome]}-DATA-{number:03d}"
    return Problem(code, source, line, column, value, message, fix, outcome)


def shown(value: str, *, most: int = LONGEST_SHOWN) -> str:
    """A value fit for a terminal: one line, control and direction characters escaped, cut short."""
    cut = value if len(value) <= most else value[: most - 3] + "..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(letter if _visible(letter) else escaped(letter) for letter in cut)


def quoted(value: str) -> str:
    """The value as shown, in double quotes."""
    return f'"{shown(value)}"'


def spreadsheet_safe(value: str) -> str:
    """A cell for writing: what a spreadsheet would run as a formula gets a quote in front."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _visible(letter: str) -> bool:
    return letter == " " or unicodedata.category(letter)[0] not in "CZ"


def stop_at(problems: Sequence[Problem]) -> None:
    """Raise InputError with the first twenty of these problems, if there are any."""
    if problems:
        lines = [str(one) for one in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"... and {len(problems) - SHOWN_PROBLEMS} more.")
        raise InputError("\n".join(lines))
