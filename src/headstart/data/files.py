"""The only place that opens data files: folders to file lists, files to rows and documents.

In: paths. Out: `Row`, `Document` and `Problem`, one at a time, never a file at once.
Encodings are found, not assumed; gzip is opened on the way, under a limit.
The surprise: only LF, CRLF and CR end a line; U+2028 and its like are text.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import pyarrow

from headstart.data.columns import likely_text, text_of
from headstart.data.delimited import SAMPLE_LINES, Line, delimited_rows, find_dialect
from headstart.data.encoding import (
    checked_encoding,
    decoding_problem,
    foreign_format,
    in_chunks,
    marked_encoding,
    unmarked_problem,
    unmarked_utf16,
)
from headstart.data.json_rows import json_rows
from headstart.data.parquet_rows import parquet_columns, parquet_rows
from headstart.data.record import Document, Problem, Row, problem, shown
from headstart.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Document", "Row", "Shape", "list_files", "look_at", "read_documents", "read_rows"]

TEXT_SUFFIXES = (".txt", ".md")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
LONGEST_LINE = 64_000_000  # characters
LONGEST_DOCUMENT = 1_000_000  # characters of a plain text file that make one document
INFLATION = 300  # gzip: times the compressed size, beyond
INFLATION_FREE = 32 << 20  # so many bytes
SNIFFED_BYTES = 1 << 16
LINES_OF_A_LIST = 50

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


class _Unusable(Exception):
    """Carries the problem that makes a whole file unusable."""

    def __init__(self, found: Problem) -> None:
        super().__init__(str(found))
        self.found = found


def list_files(paths: Sequence[str | Path]) -> list[Path]:
    """Every data file under the paths, folders searched through, sorted, each once.

    A file named directly is taken whatever its suffix. Hidden files, "._" twins and links that
    leave their folder are passed over. Raises InputError when a path does not exist, or when
    nothing is found.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            found.update(dict.fromkeys(_under(path)))
        else:
            raise InputError(f"{path} does not exist. Check the path.")
    if not found:
        known = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no data file under {where} (looked for {known}, also with .gz).")
    return list(found)


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
    except _Unusable as unusable:
        return unusable.found
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return _unreadable(path, error)


def _look_inside(path: Path, kind: Format, encoding: str | None) -> Shape | Problem:
    source = str(path)
    with _open_bytes(path) as stream:
        found = _encoding(stream, path, encoding)
    sample = list(islice(_lines(path, found), SAMPLE_LINES))
    if not any(line.strip() for _, line in sample):
        return _empty(source)
    if kind == "json":
        rows = [r for r in islice(json_rows(sample, source=source), 20) if isinstance(r, Row)]
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
        with _open_bytes(path) as stream:
            found = _encoding(stream, path, encoding)
        if kind == "json":
            rows = json_rows(_lines(path, found), source=source)
        else:
            rows = delimited_rows(_lines(path, found), source=source, prefer=_preferred(path))
        empty = True
        for row in rows:
            empty = False
            yield row
        if empty:
            filled = any(line.strip() for _, line in _lines(path, found))
            yield no_rows(source) if filled else _empty(source)
    except _Unusable as unusable:
        yield unusable.found
    except OSError as error:
        yield _unreadable(path, error)


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
        for number, line in _lines(path, shape.encoding):
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
    except _Unusable as unusable:
        yield unusable.found
    except OSError as error:
        yield _unreadable(path, error)


def _joined(lines: Iterable[str]) -> str:
    return re.sub(r"\r\n?", "\n", "".join(lines)).strip("\n")


def _column_documents(path: Path, shape: Shape, text: str | None) -> Iterator[Document | Problem]:
    column = text
    for row in read_rows(path, encoding=shape.encoding or None):
        if isinstance(row, Problem):
            yield row
            continue
        if column is None:
            column = _text_column(path, shape)
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


def _text_column(path: Path, shape: Shape) -> str:
    rows = islice(read_rows(path, encoding=shape.encoding or None), 200)
    sample = [row for row in rows if isinstance(row, Row)]
    return likely_text(sample, shape.columns)


def _format(path: Path, *, text: bool) -> Format:
    """From the first bytes where they tell, else from the suffix. Raises _Unusable."""
    with _open_bytes(path) as stream:
        head = stream.read(1024)
    if head[:4] == b"PAR1":
        return "parquet"
    what = foreign_format(head)
    if what is not None:
        message = f"the file is {what}, not text."
        fix = "Export it as text, CSV, JSON lines or Parquet."
        raise _Unusable(problem(2, "reject", source=str(path), message=message, fix=fix))
    suffix = _suffix(path)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return "json"
    if suffix == ".parquet":
        message = "the file is not Parquet: it does not begin with PAR1."
        fix = "Copy or write the file again."
        raise _Unusable(problem(19, "reject", source=str(path), message=message, fix=fix))
    plain = suffix in TEXT_SUFFIXES or suffix not in TABLE_SUFFIXES
    return "text" if text and plain else "delimited"


def _preferred(path: Path) -> str:
    return "," if _suffix(path) == ".csv" else "\t"


@contextmanager
def _open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked if it is gzip. Raises _Unusable for damage and bombs."""
    source = str(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                size = path.stat().st_size
                with gzip.GzipFile(fileobj=file) as unpacked:
                    limit = max(INFLATION_FREE, INFLATION * size)
                    limited = _Limited(unpacked, limit, source)
                    yield io.BufferedReader(limited, 1 << 18)
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Unusable(
            problem(
                3,
                "reject",
                source=source,
                message=f"the gzip file is damaged or cut off ({shown(str(error))}).",
                fix="Copy or download it again.",
            )
        ) from None


class _Limited(io.RawIOBase):
    """A stream that refuses to give more bytes than the limit."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, limit: int, source: str) -> None:
        self._stream, self._limit, self._source, self._given = stream, limit, source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        self._given += len(data)
        if self._given > self._limit:
            raise _Unusable(
                problem(
                    4,
                    "reject",
                    source=self._source,
                    message=(
                        f"the gzip file holds more than {self._limit} bytes, over {INFLATION} "
                        "times its own size."
                    ),
                    fix="If it is meant to, unpack it first.",
                )
            )
        view[: len(data)] = data
        return len(data)


def _encoding(stream: BinaryIO, path: Path, given: str | None) -> str:
    head = stream.read(SNIFFED_BYTES)
    marked = marked_encoding(head)
    if given is not None:
        name = checked_encoding(given)
        return marked if marked is not None and name.startswith("utf-") else name
    if marked is not None:
        return marked
    likely = unmarked_utf16(head)
    if likely is not None:
        raise _Unusable(unmarked_problem(likely, source=str(path)))
    return "utf-8"


def _lines(path: Path, encoding: str) -> Iterator[Line]:
    """Numbered lines with their ends, a byte order mark at a line's beginning left out."""
    try:
        with (
            _open_bytes(path) as stream,
            io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="") as text,
        ):
            number = 0
            while line := text.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise _Unusable(_long_line(str(path), number))
                yield number, line.lstrip("\ufeff") if line[0] == "\ufeff" else line
    except UnicodeDecodeError as error:
        with _open_bytes(path) as stream:
            found = decoding_problem(in_chunks(stream), encoding, source=str(path))
        raise _Unusable(found or _unreadable(path, error)) from None


def _long_line(source: str, number: int) -> Problem:
    return problem(
        6,
        "reject",
        source=source,
        line=number,
        message=f"the line is longer than {LONGEST_LINE} characters.",
        fix="Break it into lines.",
    )


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


def _unreadable(path: Path, error: Exception) -> Problem:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return problem(
        33,
        "reject",
        source=str(path),
        message=f"the file cannot be read: {shown(reason)}.",
        fix="Check its permissions, or copy it again.",
    )
