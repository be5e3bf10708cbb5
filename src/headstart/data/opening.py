"""Data files opened: their bytes, and their numbered lines of text.

In: a path. Out: a stream of bytes, unpacked on the way if it is gzip (under a limit), or lines in
the encoding that was found. What makes a whole file unusable is raised as `Unusable`.
The surprise: only LF, CRLF and CR end a line; U+2028 and its like are text.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from headstart.data.delimited import Line
from headstart.data.encoding import (
    checked_encoding,
    decoding_problem,
    in_chunks,
    marked_encoding,
    surely_utf8,
    unmarked_problem,
    unmarked_utf16,
)
from headstart.data.record import Problem, problem, shown
from headstart.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

LONGEST_LINE = 64_000_000  # characters
INFLATION = 300  # gzip: times the compressed size, beyond
INFLATION_FREE = 32 << 20  # so many bytes
SNIFFED_BYTES = 1 << 16


class Unusable(Exception):
    """Carries the problem that makes a whole file unusable."""

    def __init__(self, found: Problem) -> None:
        super().__init__(str(found))
        self.found = found


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked if it is gzip. Raises Unusable for damage and bombs."""
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
        raise Unusable(
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
            raise Unusable(
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


def find_encoding(stream: BinaryIO, source: str | Path, given: str | None) -> str:
    """The encoding that a file is read by: a mark in it, the given one, or UTF-8.

    The given one is for files that are nothing else by their bytes: among others in UTF-8, one file
    in another encoding can be read.
    Raises Unusable for UTF-16 without a mark, InputError for an unknown name.
    """
    head = stream.read(SNIFFED_BYTES)
    marked = marked_encoding(head)
    if given is not None:
        name = checked_encoding(given)
        if marked is not None and name.startswith("utf-"):
            return marked
        return "utf-8" if surely_utf8(head, wide=name.startswith(("utf-16", "utf-32"))) else name
    if marked is not None:
        return marked
    likely = unmarked_utf16(head)
    if likely is not None:
        raise Unusable(unmarked_problem(likely, source=str(source)))
    return "utf-8"


def numbered_lines(path: Path, encoding: str) -> Iterator[Line]:
    """Numbered lines with their ends, a byte order mark at a line's beginning left out."""
    try:
        with (
            open_bytes(path) as stream,
            io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="") as text,
        ):
            number = 0
            while line := text.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise Unusable(_long_line(str(path), number))
                yield number, line.lstrip("\ufeff") if line[0] == "\ufeff" else line
    except UnicodeDecodeError as error:
        with open_bytes(path) as stream:
            found = decoding_problem(in_chunks(stream), encoding, source=str(path))
        raise Unusable(found or unreadable(path, error)) from None


def piped_lines(data: bytes, *, source: str, encoding: str | None = None) -> list[str]:
    """Lines, without their ends, of bytes that are no file: what was piped in.

    encoding: as of a file. Raises InputError where they cannot be read by it.
    """
    try:
        found = find_encoding(io.BytesIO(data), source, encoding)
        with io.TextIOWrapper(io.BytesIO(data), encoding=found) as text:
            return [line.rstrip("\n") for line in text]
    except Unusable as unusable:
        raise InputError(str(unusable.found)) from None
    except UnicodeDecodeError as error:
        said = decoding_problem(iter([data]), found, source=source)
        raise InputError(str(said or unreadable(Path(source), error))) from None


def _long_line(source: str, number: int) -> Problem:
    return problem(
        6,
        "reject",
        source=source,
        line=number,
        message=f"the line is longer than {LONGEST_LINE} characters.",
        fix="Break it into lines.",
    )


def unreadable(path: Path, error: Exception) -> Problem:
    """What the system says of a file that it does not let us read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return problem(
        33,
        "reject",
        source=str(path),
        message=f"the file cannot be read: {shown(reason)}.",
        fix="Check its permissions, or copy it again.",
    )
