"""JSON lines, or one JSON document with many records, to rows whose values are exact text.

In: numbered lines. Out: rows, and problems that name the line.
The surprise: numbers stay the characters of the file ("007", 2^53 + 1 and 0.10 are not changed),
null is the empty text, and lists and objects become compact JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from headstart.data.delimited import Line
from headstart.data.record import Problem, Row, problem, quoted, shown

DEEPEST = 64
LARGEST_DOCUMENT = 1 << 28  # characters of a JSON file that is one document, held in memory
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class _BadValue(ValueError):
    """A value that JSON text may spell but a record may not hold: (problem number, what)."""


def _pairs(found: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(found)
    if len(record) < len(found):
        names = [name for name, _ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadValue(13, f"the key {quoted(twice)} stands in this object twice")
    return record


def _constant(name: str) -> object:
    raise _BadValue(14, f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=_constant
)


def json_rows(lines: Iterable[Line], *, source: str) -> Iterator[Row | Problem]:
    """Rows of JSON lines; a file that is one list or object is read whole."""
    feed = iter(lines)
    start = list(islice((line for line in feed if line[1].strip()), 1))
    if not start:
        return
    first = start[0][1].strip()
    rest = list(islice((line for line in feed if line[1].strip()), 1))
    lines_rest = chain(rest, feed)
    if _is_document(first, rest):
        yield from _document_rows(chain(start, lines_rest), source=source)
    else:
        yield from _line_rows(chain(start, lines_rest), source=source)


def _is_document(first: str, rest: Sequence[Line]) -> bool:
    """Whether the lines together are one JSON text, rather than one each."""
    if first[0] == "[":
        return True
    if first[0] != "{":
        return False
    if not rest:
        return _is_complete(first)
    return not _is_complete(first) and rest[0][1].lstrip()[:1] != "{"


def _is_complete(text: str) -> bool:
    try:
        json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return _depth(text) > DEEPEST or text.rstrip()[-1:] in "}]"
    return True


def _line_rows(lines: Iterable[Line], *, source: str) -> Iterator[Row | Problem]:
    held: Line | None = None
    for line in lines:
        if not line[1].strip():
            continue
        if held is not None:
            yield _line_row(held, source, last=False)
        held = line
    if held is not None:
        yield _line_row(held, source, last=True)


def _line_row(line: Line, source: str, *, last: bool) -> Row | Problem:
    number, text = line
    found = _parse(text, source, number)
    if isinstance(found, Problem):
        if last and not text.endswith(("\n", "\r")) and found.code.endswith("012"):
            return problem(
                30,
                "quarantine",
                source=source,
                line=number,
                value=text,
                message=f"the last line is cut off: {quoted(text[-60:])}.",
                fix="Write the file again, or remove this line.",
            )
        return found
    return _row(found, source, number)


def _row(found: object, source: str, number: int) -> Row | Problem:
    if not isinstance(found, dict):
        what = "a list" if isinstance(found, list) else "a single value"
        return problem(
            16,
            "reject",
            source=source,
            line=number,
            value=str(found),
            message=f"the record is {what}, but must be an object with named fields.",
            fix='Write records like {"text": "...", "label": "..."}.',
        )
    if not found:
        return problem(
            66,
            "quarantine",
            source=source,
            line=number,
            message="the record has no fields.",
            fix="Fill it in, or remove the row.",
        )
    fields = {name: _text(value) for name, value in found.items()}
    for name, value in fields.items():
        if not value.isascii() and _SURROGATE.search(value):
            return problem(
                18,
                "quarantine",
                source=source,
                line=number,
                column=name,
                value=value,
                message=f"half of a surrogate pair is no character: {quoted(value)}.",
                fix="Write the character whole, or remove it.",
            )
    return Row(source, number, fields)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parse(text: str, source: str, number: int) -> object | Problem:
    """The value of a whole text, or what is wrong with it."""

    def refused(kind: int, message: str, fix: str) -> Problem:
        return problem(
            kind, "reject", source=source, line=number, value=text, message=message, fix=fix
        )

    depth = _depth(text)
    if depth > DEEPEST:
        return refused(
            15,
            f"the record is nested {depth} levels deep, but {DEEPEST} are allowed.",
            "Flatten it, or remove the line.",
        )
    try:
        value: object = _DECODER.decode(text.strip())
    except _BadValue as bad:
        kind, what = bad.args
        fix = "Remove one of the two." if kind == 13 else "Write null, or remove the field."
        return refused(kind, f"{what}.", fix)
    except json.JSONDecodeError as error:
        at = error.pos
        near = text.strip()[max(0, at - 20) : at + 20]
        return refused(
            12,
            f"this is not JSON ({error.msg} at character {at + 1}, near {quoted(near)}).",
            _syntax_fix(text, near),
        )
    return value


def _syntax_fix(text: str, near: str) -> str:
    if re.search(r",\s*[}\]]", near):
        return "Remove the comma before the closing bracket."
    if re.match(r"\s*\{\s*'", text):
        return "Put names and texts in double quotes, not single ones."
    return "Write one JSON object a line."


def _depth(text: str) -> int:
    """How deeply lists and objects are nested; exact only where it may pass the limit."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    deepest = depth = 0
    for bracket in re.finditer(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _document_rows(lines: Iterable[Line], *, source: str) -> Iterator[Row | Problem]:
    """Items of a list, or of the only list of objects in an object; else the object itself."""
    parts: list[str] = []
    size = 0
    for _, text in lines:
        parts.append(text)
        size += len(text)
        if size > LARGEST_DOCUMENT:
            yield problem(
                6,
                "reject",
                source=source,
                message=f"the file is one JSON text of more than {LARGEST_DOCUMENT} characters.",
                fix="Write one object a line (JSON lines), which is read piece by piece.",
            )
            return
    found = _parse("".join(parts), source, 1)
    if isinstance(found, Problem):
        yield found
        return
    items = found if isinstance(found, list) else _records(found, source)
    if isinstance(items, Problem):
        yield items
        return
    for number, item in enumerate(items, start=1):
        yield _row(item, source, number)


def _records(found: object, source: str) -> Sequence[object] | Problem:
    """Records of an object, in any way that one is written with many; else it is one record.

    These are one list of records beside other things, a list for each column, and what pandas
    writes: the columns or the records numbered, or names and rows apart ("split").
    """
    if not isinstance(found, dict) or not found:
        return [found]
    lists = {name: value for name, value in found.items() if isinstance(value, list)}
    of_records = [name for name, value in lists.items() if value and _all(value, dict)]
    if len(of_records) == 1 and len(lists) == 1:
        return lists[of_records[0]]
    if len(of_records) > 1:
        return problem(
            67,
            "reject",
            source=source,
            message=f"the file holds {len(of_records)} lists of records "
            f"({', '.join(map(shown, of_records))}).",
            fix="Write each list into a file of its own.",
        )
    names, rows = found.get("columns"), found.get("data")
    if isinstance(names, list) and isinstance(rows, list) and _all(rows, list):
        return [_named(list(map(str, names)), row) for row in rows]
    if len(lists) == len(found) > 1 and len({len(value) for value in lists.values()}) == 1:
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return _numbered(found) if _all(list(found.values()), dict) else [found]


def _named(names: Sequence[str], cells: Sequence[object]) -> object:
    """A record, or the cells alone if there are more or less of them than names."""
    return dict(zip(names, cells, strict=True)) if len(cells) == len(names) else cells


def _numbered(found: dict[str, dict[str, object]]) -> Sequence[object]:
    """Records of an object of objects: columns whose cells are numbered, or numbered records."""
    first, *others = (list(value) for value in found.values())
    if first and _numbers(first) and all(keys == first for keys in others):
        return [{name: cells[key] for name, cells in found.items()} for key in first]
    return list(found.values()) if _numbers(list(found)) else [found]


def _numbers(keys: Sequence[str]) -> bool:
    return all(key.isdecimal() for key in keys)


def _all(values: Sequence[object], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)
