"""Read a settings file as plain text values, refusing everything that surprises people in YAML.

Comes in: bytes of a file. Goes out: nested dicts, lists and *strings* (or None for an unquoted
`null`), with the line of every value. No scalar is interpreted here: `1e-4`, `no`, `0123`, `3.10`
and `12:30` stay text until the schema says what they are. Refused with line and column: repeated
keys, tags, anchors and aliases, tabs as indentation, other encodings than UTF-8, characters that
only look like the right ones. Nothing is ever constructed from a tag, so no file can run code.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import yaml

from headstart.errors import InputError

Tree = str | None | list["Tree"] | dict[str, "Tree"]
Where = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 12
MAX_VALUES = 20_000

LOOKALIKES = {
    "\ufeff": "a byte order mark",
    "\u200b": "a zero-width space",
    "\u200c": "a zero-width non-joiner",
    "\u200d": "a zero-width joiner",
    "\u2060": "a word joiner",
    "\u00a0": "a no-break space",
    "\u2212": "a Unicode minus sign",
    "\u2013": "an en dash",
    "\u2014": "an em dash",
    "\u2018": "a curly quote",
    "\u2019": "a curly quote",
    "\u201c": "a curly quote",
    "\u201d": "a curly quote",
    "\uff1a": "a full-width colon",
    "\uff0c": "a full-width comma",
}
_INVISIBLE = frozenset("\ufeff\u200b\u200c\u200d\u2060")
_QUOTES = frozenset("\u2018\u2019\u201c\u201d")


@dataclass
class Document:
    """One parsed settings file: its values and where each of them stands."""

    source: str
    tree: dict[str, Tree] = field(default_factory=dict)
    lines: dict[Where, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Document:
    """Parse one settings file. Raises InputError naming file, line, column and fix."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path}: {size:,} bytes is too large for settings (at most {MAX_BYTES:,}). "
                "Is this a data file? Data goes on the command line, settings after --config."
            )
        return parse_yaml(path.read_bytes(), source=str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the settings file: {error.strerror}.") from error


def parse_yaml(data: bytes, *, source: str) -> Document:
    """Parse the bytes of one settings file; `source` is how messages call it."""
    text = _decode(data, source)
    _refuse_tabs(text, source)
    reader = _Reader(source)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(
            f"{source}{where}: not valid YAML: {error.problem}. "
            "Check the indentation, the colon after each name, and the quotes."
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{source}, line {line}: the control character U+{ord(text[error.position]):04X} "
            "cannot stand in settings. Delete it."
        ) from error
    return reader.document


def describe_character(character: str) -> str:
    """A character by name and code point, for messages."""
    name = LOOKALIKES.get(character) or unicodedata.name(character, "an unnamed character").lower()
    return f"{name} (U+{ord(character):04X})"


def _decode(data: bytes, source: str) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise InputError(
            f"{source}, line 1, column 1: a byte order mark (U+FEFF). "
            "Save the file as UTF-8 without it."
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:64]:
        raise InputError(f"{source}, line 1: this is UTF-16 or UTF-32. Save it as plain UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Save it as plain UTF-8."
        ) from error


def _refuse_tabs(text: str, source: str) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        margin = line[: len(line) - len(line.lstrip())]
        if "\t" in margin and line.strip():
            raise InputError(
                f"{source}, line {number}, column {margin.index(chr(9)) + 1}: a tab (U+0009) in "
                "the indentation. Use spaces."
            )


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    value: dict[str, Tree] | list[Tree]
    where: Where
    key: str | None = None
    key_lines: dict[str, int] = field(default_factory=dict)


class _Reader:
    """Builds the tree from the parser's events: no recursion, no tags, no aliases."""

    def __init__(self, source: str):
        self.document = Document(source)
        self.open: list[_Open] = []
        self.count = 0
        self.documents = 0

    def take(self, event: yaml.Event) -> None:
        """One event of the parser."""
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._refuse(event, "a second document starts with '---'. Keep one a file.")
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"the alias '*{event.anchor}': write the value out.")
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()

    def _node(self, event: yaml.NodeEvent) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES:,} values. Is this a data file?")
        if event.anchor is not None:
            self._refuse(event, f"the anchor '&{event.anchor}': write values out.")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            self._refuse(event, f"the tag '{event.tag}': values carry no tags. Delete it.")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
            return
        if len(self.open) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels.")
        inside: dict[str, Tree] | list[Tree] = (
            {} if isinstance(event, yaml.MappingStartEvent) else []
        )
        where = self._place(event, inside)
        self.open.append(_Open(inside, where))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, top)
            return
        plain = event.style is None
        if plain and event.value in ("", "~", "null", "Null", "NULL"):
            self._place(event, None)
            return
        self._refuse_lookalikes(event, plain=plain)
        self._place(event, event.value)

    def _key(self, event: yaml.ScalarEvent, top: _Open) -> None:
        for character in event.value:
            if character in LOOKALIKES:
                self._refuse(
                    event,
                    f"the name {event.value!r} holds {describe_character(character)}. Retype it.",
                )
        line = _position(event)[0]
        if event.value in top.key_lines:
            self._refuse(
                event,
                f"'{event.value}' is given twice, on lines {top.key_lines[event.value]} and "
                f"{line}. Keep one.",
            )
        top.key_lines[event.value] = line
        top.key = event.value

    def _refuse_lookalikes(self, event: yaml.ScalarEvent, *, plain: bool) -> None:
        bad = [c for c in event.value if c in _INVISIBLE]
        if plain and event.value[:1] in _QUOTES:
            bad.append(event.value[0])
        if bad:
            self._refuse(
                event,
                f"the value {event.value[:80]!r} holds {describe_character(bad[0])}. "
                "Retype it with plain characters.",
            )

    def _place(self, event: yaml.NodeEvent, value: Tree) -> Where:
        line = _position(event)[0]
        if not self.open:
            if isinstance(value, dict):
                self.document.tree = value
            elif value is not None:
                hint = ""
                if isinstance(value, str) and "\uff1a" in value:
                    hint = f" It holds {describe_character(chr(0xFF1A))}: use a plain colon."
                self._refuse(event, f"settings are 'name: value' lines, met {value!r:.80}.{hint}")
            return ()
        top = self.open[-1]
        if isinstance(top.value, list):
            where = (*top.where, len(top.value))
            top.value.append(value)
        elif top.key is None:
            self._refuse(event, "a list or mapping cannot be a name.")
        else:
            where = (*top.where, top.key)
            top.value[top.key] = value
            line = top.key_lines[top.key]
            top.key = None
        self.document.lines[where] = line
        return where

    def _refuse(self, event: yaml.Event, problem: str) -> NoReturn:
        line, column = _position(event)
        raise InputError(f"{self.document.source}, line {line}, column {column}: {problem}")


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)
