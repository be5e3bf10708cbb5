"""Folders to file lists, files to rows and documents; only here and in `opening.py` are data files
opened.

In: paths. Out: `Row`, `Document` and `Problem`, one at a time, never a file at once.
Format, encoding and columns are found, not assumed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import pyarrow

from headstart.data.columns import likely_text, text_of
from headstart.data.delimited import SAMPLE_LINES, Line, delimited_rows, find_dialect
from headstart.data.encoding import foreign_format
from headstart.data.json_rows import json_rows
from headstart.data.opening import (
    Unusable,
    find_encoding,
    numbered_lines,
    open_bytes,
    unreadable,
)
from headstart.data.parquet_rows import parquet_columns, parquet_rows
from headstart.data.record import Document, Problem, Row, problem
from headstart.errors import InputError

__all__ = [
    "Document",
    "Row",
    "Shape",
    "absent",
    "is_table",
    "list_files",
    "look_at",
    "read_documents",
    "read_rows",
    "table_sample",
]

TEXT_SUFFIXES = (".txt", ".md")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
LONGEST_DOCUMENT = 1_000_000  # characters of a plain text file that make one document
LINES_OF_A_LIST = 50
SAMPLE_ROWS = 200  # of a table, by which its columns are told apart

Format = Literal["text", "delimited", "json", "parquet"]


@dataclass(frozen=True)
class Shape:
    """What a file was found to be, for echoing: how it is read, and which columns it has."""

    source: str
    format: Format
    encoding: str
    columns: tuple[str, ...]
    note: str
    lines: bool = False


def list_files(paths: Sequence[str | Path]) -> list[Path]:
    """Every data file under the paths, folders searched through, sorted, each once.

    A file named directly is taken whatever its suffix. Hidden files, "._" twins and links that
    leave their folder are passed over. Raises InputError when a path does not exist, or when
    nothing is found.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if given == "":
            raise InputError(absent(given))
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            found.update(dict.fromkeys(_under(path)))
        else:
            raise InputError(absent(given))
    if not found:
        known = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        where = ", ".join(str(path) for path in paths)
        others = Counter(suffix for path in map(Path, paths) for suffix in _suffixes(path))
        there = ", ".join(f"{times} {suffix}" for suffix, times in others.most_common(3))
        raise InputError(
            f"no data file under {where} (looked for {known}, also with .gz, and for images; "
            f"found {there or 'nothing'})."
        )
    return list(found)


def is_table(path: Path) -> bool:
    """Whether a file is named like a table."""
    return _suffix(path) in TABLE_SUFFIXES


def _suffixes(folder: Path) -> Iterator[str]:
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(name).suffix or name for name in names if not name.startswith("."))


def absent(given: str | Path) -> str:
    """What to say of a path that is no file and no folder."""
    path = Path(given)
    if given == "":
        return "one of the paths is empty. Name a file or a folder; the current one is a dot."
    if path.exists():
        return f"{path} is no regular file, so it is not opened. Put the data itself in its place."
    return f"{path} does not exist. Check the path."


def _under(folder: Path) -> list[Path]:
    found = []
    for where, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(where, name)
            if name.startswith(".") or _suffix(path) not in TEXT_SUFFIXES + TABLE_SUFFIXES:
                continue
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                found.append(path)
    return sorted(found)


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def look_at(
    path: str | Path, *, encoding: str | None = None, text: bool = False
) -> Shape | Problem:
    """Find out format, encoding and columns of a file from its beginning.

    text: the file is wanted for its text alone, so an unknown suffix means plain text, not a table.
    """
    path = Path(path)
    try:
        kind = _format(path, text=text)
        if kind == "parquet":
            with path.open("rb") as file:
                columns = tuple(parquet_columns(file))
            note = f"Parquet, columns {', '.join(columns)}"
            return Shape(str(path), kind, "", columns, note)
        return _look_inside(path, kind, encoding)
    except Unusable as unusable:
        return unusable.found
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return unreadable(path, error)


def _look_inside(path: Path, kind: Format, encoding: str | None) -> Shape | Problem:
    source = str(path)
    with open_bytes(path) as stream:
        found = find_encoding(stream, path, encoding)
    lines = numbered_lines(path, found)
    sample = list(islice(lines, SAMPLE_LINES))
    if not any(line.strip() for _, line in sample):
        return _empty(source)
    if kind == "json":
        read = islice(json_rows(chain(sample, lines), source=source), 20)
        rows = [row for row in read if isinstance(row, Row)]
        columns = tuple(dict.fromkeys(name for row in rows for name in row.fields))
        return Shape(source, kind, found, columns, f"JSON, fields {', '.join(columns)}")
    if kind == "delimited":
        dialect = find_dialect(sample, source=source, prefer=_preferred(path))
        if isinstance(dialect, Problem):
            return dialect
        return Shape(source, kind, found, dialect.names, str(dialect))
    listed = _is_list(sample)
    note = "one document a line" if listed else "the whole file is one document"
    return Shape(source, kind, found, (), note, lines=listed)


def _is_list(sample: Sequence[Line]) -> bool:
    """Many lines, hardly any blank: each line stands for itself."""
    filled = sum(bool(line.strip()) for _, line in sample)
    return filled > LINES_OF_A_LIST and len(sample) - filled <= 0.02 * filled


def read_rows(path: str | Path, *, encoding: str | None = None) -> Iterator[Row | Problem]:
    """Rows of a CSV, TSV, JSON, JSON-lines or Parquet file, and whatever is wrong with it.

    encoding: of the file, where it is neither UTF-8 nor marked by a byte order mark.
    """
    path = Path(path)
    source = str(path)
    try:
        kind = _format(path, text=False)
        if kind == "parquet":
            with path.open("rb") as file:
                yield from parquet_rows(file, source=source)
            return
        with open_bytes(path) as stream:
            found = find_encoding(stream, path, encoding)
        if kind == "json":
            rows = json_rows(numbered_lines(path, found), source=source)
        else:
            rows = delimited_rows(
                numbered_lines(path, found), source=source, prefer=_preferred(path)
            )
        empty = True
        for row in rows:
            empty = False
            yield row
        if empty:
            filled = any(line.strip() for _, line in numbered_lines(path, found))
            yield no_rows(source) if filled else _empty(source)
    except Unusable as unusable:
        yield unusable.found
    except OSError as error:
        yield unreadable(path, error)


def read_documents(
    paths: Sequence[str | Path],
    *,
    text: str | None = None,
    encoding: str | None = None,
    lines: bool | None = None,
) -> Iterator[Document | Problem]:
    """Documents of all files under the paths, in the order of `list_files`.

    A .txt or .md file with more than fifty filled lines and hardly a blank one gives a document a
    line; any other is one document, passed on in parts of about a million characters. Tables give
    the column `text`, by default the one named like text, or the longest on average.
    lines: decide for a document a line (True) or whole files (False) instead.
    """
    for path in list_files(paths):
        shape = look_at(path, encoding=encoding, text=True)
        if isinstance(shape, Problem):
            yield shape
        elif shape.format == "text":
            by_line = shape.lines if lines is None else lines
            yield from _plain_documents(path, shape, by_line=by_line)
        else:
            yield from _column_documents(path, shape, text)


def _plain_documents(path: Path, shape: Shape, *, by_line: bool) -> Iterator[Document | Problem]:
    source = shape.source
    try:
        parts: list[str] = []
        begin, size = 1, 0
        for number, line in numbered_lines(path, shape.encoding):
            if by_line:
                if line.strip():
                    yield Document(line.rstrip("\r\n"), source, number)
                continue
            parts.append(line)
            size += len(line)
            if size >= LONGEST_DOCUMENT:
                yield Document(_joined(parts), source, begin)
                parts, begin, size = [], number + 1, 0
        if any(part.strip() for part in parts):
            yield Document(_joined(parts), source, begin)
    except Unusable as unusable:
        yield unusable.found
    except OSError as error:
        yield unreadable(path, error)


def _joined(lines: Iterable[str]) -> str:
    return re.sub(r"\r\n?", "\n", "".join(lines)).strip("\n")


def _column_documents(path: Path, shape: Shape, text: str | None) -> Iterator[Document | Problem]:
    column = text
    for row in read_rows(path, encoding=shape.encoding or None):
        if isinstance(row, Problem):
            yield row
            continue
        if column is None:
            sample = table_sample(path, encoding=shape.encoding or None)
            column = likely_text(sample, shape.columns)
        value = text_of(row, column)
        if isinstance(value, Problem):
            yield value
        elif value.strip():
            yield Document(value, row.source, row.line)
        else:
            yield problem(
                22,
                "quarantine",
                source=row.source,
                line=row.line,
                column=column,
                message="the text is empty.",
                fix="Fill it in, or remove the row.",
            )


def table_sample(path: Path, *, encoding: str | None) -> list[Row]:
    """The first usable rows of a table, by which columns are told apart."""
    rows = islice(read_rows(path, encoding=encoding), SAMPLE_ROWS)
    return [row for row in rows if isinstance(row, Row)]


def _format(path: Path, *, text: bool) -> Format:
    """From the first bytes where they tell, else from the suffix. Raises Unusable."""
    with open_bytes(path) as stream:
        head = stream.read(1024)
    if head[:4] == b"PAR1":
        return "parquet"
    what = foreign_format(head)
    if what is not None:
        message = f"the file is {what}, not text."
        fix = "Export it as text, CSV, JSON lines or Parquet."
        raise Unusable(problem(2, "reject", source=str(path), message=message, fix=fix))
    suffix = _suffix(path)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return "json"
    if suffix == ".parquet":
        message = "the file is not Parquet: it does not begin with PAR1."
        fix = "Copy or write the file again."
        raise Unusable(problem(19, "reject", source=str(path), message=message, fix=fix))
    plain = suffix in TEXT_SUFFIXES or suffix not in TABLE_SUFFIXES
    return "text" if text and plain else "delimited"


def _preferred(path: Path) -> str:
    return "," if _suffix(path) == ".csv" else "\t"


def _empty(source: str) -> Problem:
    return problem(
        5,
        "reject",
        source=source,
        message="the file is empty.",
        fix="Fill it, or leave it out.",
    )


def no_rows(source: str) -> Problem:
    """A table that ends after its header."""
    return problem(
        36,
        "reject",
        source=source,
        message="the file has a header but no rows.",
        fix="Add rows, or leave it out.",
    )
