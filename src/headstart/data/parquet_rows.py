"""Parquet to rows whose values are exact text, read a thousand at a time.

In: an open file. Out: rows, and problems that name the file.
The surprise: columns of bytes (images) are left out unless one is asked for, but bytes that are
text, which some writers do not mark as text, are text. Null is the empty text; lists become JSON.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import BinaryIO

import pyarrow
from pyarrow import parquet

from headstart.data.record import Problem, Row, problem, quoted, shown

ROWS_AT_ONCE = 1000
BLOBS_AT_ONCE = 64  # rows that hold images
BUFFER_BYTES = 1 << 20  # without it, images of a whole row group are read to look at the first
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # images have some, texts have none


@dataclass(frozen=True)
class Blob:
    """A cell of bytes. path: the file name that Hugging Face stores beside them, or instead."""

    data: bytes | None
    path: str


def parquet_columns(file: BinaryIO) -> list[str]:
    """Names of the columns that can be read as text. Raises pyarrow.ArrowException or OSError."""
    return _readable(_opened(file))


def blob_columns(file: BinaryIO) -> list[str]:
    """Names of the columns that hold bytes, plain or as {"bytes", "path"}. Raises as above."""
    opened = _opened(file)
    read = _readable(opened)
    return [f.name for f in opened.schema_arrow if _is_blob(f.type) and f.name not in read]


def bytes_columns(file: BinaryIO) -> list[str]:
    """Names of the columns that cannot be read as text: bytes, and lists and structs of them."""
    opened = _opened(file)
    read = _readable(opened)
    return [name for name in opened.schema_arrow.names if name not in read]


def count_parquet_rows(file: BinaryIO) -> int:
    """How many rows the file says it has. Raises as above."""
    return int(parquet.ParquetFile(file).metadata.num_rows)


def parquet_rows(file: BinaryIO, *, source: str) -> Iterator[Row | Problem]:
    """Rows numbered from 1; damage anywhere in the file ends them with a problem."""
    for found in blob_rows(file, source=source, column=None):
        yield found if isinstance(found, Problem) else found[0]


def blob_rows(
    file: BinaryIO, *, source: str, column: str | None
) -> Iterator[tuple[Row, Blob] | Problem]:
    """Rows with the bytes of one column beside them; None: with no bytes."""
    number = 0
    try:
        opened = _opened(file)
        schema = opened.schema_arrow
        strange = next((f for f in schema if isinstance(f.type, pyarrow.BaseExtensionType)), None)
        if strange is not None:
            yield problem(
                20,
                "reject",
                source=source,
                column=strange.name,
                value=str(strange.type),
                message=f"the column has the extension type {shown(str(strange.type))}.",
                fix="Store it as plain text or numbers.",
            )
            return
        columns = _readable(opened)
        of_bytes = [f.name for f in schema if _is_bytes(f.type) and f.name in columns]
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            yield problem(
                10,
                "reject",
                source=source,
                column=twice,
                value=twice,
                message=f"the file has the column {shown(twice)!r} {columns.count(twice)} times.",
                fix="Give every column its own name.",
            )
            return
        size = ROWS_AT_ONCE if column is None else BLOBS_AT_ONCE
        wanted = [*columns, *([] if column is None else [column])]
        for batch in opened.iter_batches(batch_size=size, columns=wanted):
            for record in batch.to_pylist():
                number += 1
                broken = next((name for name in of_bytes if _is_broken(record[name])), None)
                if broken is not None:
                    yield _not_text(source, number, broken, record[broken])
                    continue
                row = Row(source, number, {name: _text(record[name]) for name in columns})
                yield row, _blob(None if column is None else record[column])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        yield problem(
            19,
            "reject",
            source=source,
            message=f"the Parquet file is damaged after row {number}: {shown(reason)}.",
            fix="Copy or write the file again.",
        )


def _opened(file: BinaryIO) -> parquet.ParquetFile:
    """The file, of which only as much is read at once as the rows asked for need."""
    return parquet.ParquetFile(
        file, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER_BYTES
    )


def _readable(opened: parquet.ParquetFile) -> list[str]:
    """Names of the columns that are text or can be written as text, by the first rows of some."""
    schema = opened.schema_arrow
    plain = [f.name for f in schema if _is_blob(f.type) and not pyarrow.types.is_struct(f.type)]
    texts: set[str] = set()
    if plain and len(set(schema.names)) == len(schema.names):
        for first in islice(opened.iter_batches(batch_size=BLOBS_AT_ONCE, columns=plain), 1):
            cells = {name: list(filter(None, first.column(name).to_pylist())) for name in plain}
            texts = {name for name, held in cells.items() if held and all(map(_is_plain, held))}
    return [field.name for field in schema if not _is_bytes(field.type) or field.name in texts]


def _is_plain(value: bytes) -> bool:
    return not _CONTROL.search(value) and not _is_broken(value)


def _is_broken(value: object) -> bool:
    if not isinstance(value, bytes):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _not_text(source: str, line: int, column: str, value: bytes) -> Problem:
    return problem(
        68,
        "quarantine",
        source=source,
        line=line,
        column=column,
        message=f"the bytes are not UTF-8: {quoted(value.decode('utf-8', 'backslashreplace'))}.",
        fix="Store the column as text.",
    )


def _is_blob(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    if types.is_struct(kind):
        names = {kind.field(n).name for n in range(kind.num_fields)}
        return "bytes" in names and _is_blob(kind.field("bytes").type)
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _blob(value: object) -> Blob:
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        return Blob(
            data if isinstance(data, bytes) else None, path if isinstance(path, str) else ""
        )
    return Blob(value if isinstance(value, bytes) else None, "")


def _is_bytes(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    if types.is_struct(kind):
        return any(_is_bytes(kind.field(n).type) for n in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_bytes(kind.value_type)
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _text(value: object) -> str:
    if isinstance(value, str | bytes):
        return value if isinstance(value, str) else value.decode("utf-8")
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int | float | Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
