"""Which column holds the text, and what it says; which columns are named like labels.

In: rows. Out: names and texts. Opens nothing.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable, Sequence

from headstart.data.delimited import TEXT_NAMES
from headstart.data.record import Problem, Row, problem, shown

# names of columns whose texts belong together, the first of which is read unless told otherwise
PAIRS = (
    *(("sentence1", "sentence2"), ("text_a", "text_b"), ("premise", "hypothesis")),
    *(("question1", "question2"), ("question", "context"), ("question", "passage")),
    *(("question", "sentence"), ("query", "passage"), ("query", "document"), ("text1", "text2")),
    *(("句子1", "句子2"), ("文本1", "文本2"), ("前提", "假设")),
)


def text_of(row: Row, column: str) -> str | Problem:
    """The row's text: of one column, or of several named like "title+body", joined by a space.

    A JSON list of strings (paragraphs, sentences) becomes lines.
    """
    if column in row.fields:
        return _flat(row.fields[column])
    several = column.split("+")
    lacking = next((name for name in several if name not in row.fields), None)
    if lacking is not None:
        return missing_column(row, lacking, "text")
    return " ".join(_flat(row.fields[name]) for name in several).strip()


def parts_of(text: str, columns: Iterable[str]) -> list[str]:
    """The columns that `text` names: itself if there is one of that name, else those it joins."""
    return [text] if text in columns else text.split("+")


def _flat(value: str) -> str:
    if value.startswith('["') and value.endswith('"]'):
        try:
            items = json.loads(value)
        except ValueError:
            return value
        if all(isinstance(item, str) for item in items):
            return "\n".join(items)
    return value


def missing_column(row: Row, column: str, role: str) -> Problem:
    """A row without the column it should have, naming the nearest of those it has.

    role: "text" or "label", as the options of the command line are called.
    """
    near = shown(nearest(column, row.fields))
    fix = f"Name it with --{role} COLUMN."
    if near:
        fix = f"Did you mean '{near}'? Write --{role} {shlex.quote(near)}."
    return problem(
        21,
        "reject",
        source=row.source,
        line=row.line,
        column=column,
        message=f"no field '{shown(column)}' (found: {', '.join(map(shown, row.fields))}).",
        fix=fix,
    )


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that is most like this one, or "" if none is much like it."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def likely_text(sample: Sequence[Row], columns: Sequence[str]) -> str:
    """The column named like text, else the one with the longest values on average."""
    named = {column.strip().casefold(): column for column in reversed(columns)}
    known = next((named[name] for name in TEXT_NAMES if name in named), None)
    if known is not None:
        return known
    sizes = {c: sum(len(row.fields.get(c, "")) for row in sample) for c in columns}
    return max(sizes, key=lambda column: sizes[column])


def other_half(columns: Sequence[str], text: str, source: str) -> list[Problem]:
    """A warning if the column of the texts is one of a pair, of which the other is not read."""
    named = {column.strip().casefold(): column for column in reversed(columns)}
    own = text.strip().casefold()
    for pair in PAIRS:
        other = next((named[name] for name in pair if name != own and name in named), None)
        if own in pair and other is not None:
            both = "+".join((text, other) if own == pair[0] else (other, text))
            return [
                problem(
                    64,
                    "warn",
                    source=source,
                    column=other,
                    message=f"it seems to belong to '{shown(text)}', but only that is read.",
                    fix=f"Write --text {shlex.quote(both)} to read both as one text.",
                )
            ]
    return []
