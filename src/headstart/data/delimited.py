"""Comma, tab, semicolon or bar separated lines to rows: the dialect is found, never assumed.

In: numbered lines with their line ends. Out: rows, and problems that name the line.
The surprise: a quote opens a quoted cell only at the cell's beginning, and in tab-separated
files only where the cell closes; else it is a character.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from headstart.data.record import Problem, Row, problem, quoted, shown

Line = tuple[int, str]  # number from 1, text with its line end

SAMPLE_LINES = 400
QUOTED_LINES = 2000
QUOTED_CHARACTERS = 8_000_000
MOST_BROKEN_QUOTES = 50
DELIMITERS = (",", "\t", ";", "|")

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "body", "message", "comment", "document", "tweet"),
    *("post", "utterance", "question", "query", "sms", "text_a", "abstract", "description"),
    *("headline", "title", "email", "dialogue", "article", "sentence1", "premise"),
    *("文本", "内容", "评论", "句子", "正文", "标题", "问题"),
)
LABEL_NAMES = (
    *("label", "labels", "category", "class", "sentiment", "target", "intent", "topic", "tag"),
    *("tags", "polarity", "type", "stars", "rating", "score", "y", "categories", "gold"),
    *("标签", "类别", "分类", "情感", "评分"),
)
TARGET_NAMES = (
    *("summary", "subject", "translation", "answer", "response", "reply", "headline", "title"),
    *("摘要", "译文", "答案", "回答", "回复", "标题"),
)
IMAGE_NAMES = (
    *("image", "img", "file_name", "filename", "image_path", "img_path", "image_file", "path"),
    *("file", "filepath", "file_path", "picture", "photo", "图像", "图片", "文件名", "路径"),
)
_OTHER_NAMES = ("id", "idx", "index", "uid", "guid", "sentence2", "hypothesis", "author", "date")
_KNOWN = frozenset((*TEXT_NAMES, *LABEL_NAMES, *IMAGE_NAMES, *_OTHER_NAMES))
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)*(e[-+]?\d+)?%?", re.IGNORECASE)
_QUOTED_CELL = re.compile(r'"((?:[^"]++|"")*+)"')
_LINE_ENDS = re.compile(r"[\r\n]+\Z")


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written. names: of the columns, positional without a header."""

    delimiter: str
    header: bool
    names: tuple[str, ...]

    def __str__(self) -> str:
        word = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}[self.delimiter]
        head = "header" if self.header else "no header"
        return (
            f"{word}-separated, {head}, columns {', '.join(shown(n, most=30) for n in self.names)}"
        )


class OpenQuote(ValueError):
    """A quoted cell does not end within the text."""


class AfterQuote(ValueError):
    """Something other than the delimiter follows a closing quote."""


def parse_record(text: str, delimiter: str) -> list[str]:
    """Cells of one record (no line end at its end); "" inside quotes is one quote.

    Raises OpenQuote or AfterQuote.
    """
    cells: list[str] = []
    place = 0
    while True:
        if text.startswith('"', place):
            closed = _QUOTED_CELL.match(text, place)
            if closed is None:
                raise OpenQuote
            cells.append(closed[1].replace('""', '"'))
            place = closed.end()
            if place == len(text):
                return cells
            if text[place] != delimiter:
                raise AfterQuote
        else:
            end = text.find(delimiter, place)
            if end < 0:
                cells.append(text[place:])
                return cells
            cells.append(text[place:end])
            place = end
        place += 1


def records(
    lines: Iterable[Line], delimiter: str, *, width: int | None, source: str
) -> Iterator[tuple[int, list[str]] | Problem]:
    """Numbered records of all lines that are not blank; a broken record costs its own line only.

    width: cells of a sound record. In tab-separated files, where many writers never quote, a line
    with so many tabs is taken as it stands when its quotes do not make sense.
    """
    reader = _Records(iter(lines), delimiter, width if delimiter == "\t" else None)
    broken = 0
    for number, text in reader.lines():
        bare = _LINE_ENDS.sub("", text)
        if not bare.strip(" "):
            continue
        if '"' not in bare:
            yield number, bare.split(delimiter)
            continue
        found = reader.quoted(text)
        if isinstance(found, list):
            yield number, found
            continue
        yield _broken(found, number, bare, source)
        broken += 1
        if broken >= MOST_BROKEN_QUOTES:
            return


class _Records:
    """Lines with a look ahead, for cells that hold line ends."""

    def __init__(self, feed: Iterator[Line], delimiter: str, plain_width: int | None) -> None:
        self._feed, self._delimiter, self._plain_width = feed, delimiter, plain_width
        self._ahead: deque[Line] = deque()

    def lines(self) -> Iterator[Line]:
        while True:
            line = self._ahead.popleft() if self._ahead else next(self._feed, None)
            if line is None:
                return
            yield line

    def quoted(self, text: str) -> list[str] | ValueError:
        """Cells of the record that begins with this line; the lines it does not use stay."""
        bare = _LINE_ENDS.sub("", text)
        plain = bare.split(self._delimiter)
        fits = self._plain_width is not None and len(plain) == self._plain_width
        try:
            cells = parse_record(bare, self._delimiter)
        except AfterQuote as error:
            return plain if fits else error
        except OpenQuote:
            if fits and self._next_stands_alone():
                return plain
            found = self._joined(text)
            return plain if fits and isinstance(found, ValueError) else found
        return plain if fits and len(cells) != len(plain) else cells

    def _next_stands_alone(self) -> bool:
        if not self._peek(0):
            return True
        following = _LINE_ENDS.sub("", self._ahead[0][1])
        return len(following.split(self._delimiter)) == self._plain_width

    def _peek(self, place: int) -> bool:
        """Whether there is a line so many lines ahead."""
        if place == len(self._ahead):
            line = next(self._feed, None)
            if line is None:
                return False
            self._ahead.append(line)
        return True

    def _joined(self, text: str) -> list[str] | ValueError:
        """Cells of this line and as many following ones as its open quote needs."""
        parts, size = [text], len(text)
        for used in range(QUOTED_LINES):
            if not self._peek(used):
                break
            line = self._ahead[used][1]
            parts.append(line)
            size += len(line)
            if size > QUOTED_CHARACTERS:
                break
            if '"' not in line:
                continue
            try:
                cells = parse_record(_LINE_ENDS.sub("", "".join(parts)), self._delimiter)
            except OpenQuote:
                continue
            except AfterQuote:
                break
            for _ in range(used + 1):
                self._ahead.popleft()
            return cells
        return OpenQuote()


def _broken(error: ValueError, number: int, text: str, source: str) -> Problem:
    if isinstance(error, OpenQuote):
        return problem(
            7,
            "reject",
            source=source,
            line=number,
            value=text,
            message=f"a quote opens here and never closes: {quoted(text)}.",
            fix='Close it, or write a quote inside a quoted cell twice ("").',
        )
    return problem(
        8,
        "reject",
        source=source,
        line=number,
        value=text,
        message=f"text follows a closing quote: {quoted(text)}.",
        fix='Write a quote inside a quoted cell twice ("").',
    )


def find_dialect(sample: Sequence[Line], *, source: str, prefer: str = ",") -> Dialect | Problem:
    """Delimiter, quoting and header of the file that begins with these lines.

    The delimiter is the one that cuts most records into the same number of cells (two or more).
    """
    order = (prefer, *(mark for mark in DELIMITERS if mark != prefer))
    best, evenest, width = order[0], 0.0, 1
    for delimiter in order:
        counts = Counter(len(cells) for cells in _sample_cells(sample, delimiter))
        cells, times = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        share = times / max(1, sum(counts.values()))
        if cells > 1 and share > evenest + 0.02:
            best, evenest, width = delimiter, share, cells
    found = [
        record
        for record in records(sample, best, width=width, source=source)
        if not isinstance(record, Problem)
    ]
    if not found:
        return Dialect(best, header=False, names=("column_1",))
    first = [cell.strip() for cell in found[0][1]]
    positional = tuple(f"column_{number + 1}" for number in range(width))
    if not _is_header(first, [cells for _, cells in found[1:]]):
        return Dialect(best, header=False, names=positional)
    twice = [name for name, times in Counter(first).items() if times > 1 and name]
    if twice:
        return problem(
            10,
            "reject",
            source=source,
            line=found[0][0],
            column=twice[0],
            value=twice[0],
            message=f"the header has the column {quoted(twice[0])} {first.count(twice[0])} times.",
            fix="Give every column its own name.",
        )
    names = tuple(name or f"column_{number + 1}" for number, name in enumerate(first))
    return Dialect(best, header=True, names=names)


def _sample_cells(sample: Sequence[Line], delimiter: str) -> list[list[str]]:
    if delimiter == "\t":
        return [_LINE_ENDS.sub("", text).split("\t") for _, text in sample if text.strip()]
    found = records(sample, delimiter, width=None, source="")
    return [record[1] for record in found if not isinstance(record, Problem)]


def _is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    filled = [cell for cell in first if cell]
    if not filled or any(_NUMBER.fullmatch(cell) for cell in filled):
        return False
    if any(cell.casefold() in _KNOWN for cell in filled):
        return True
    if any(len(cell) > 40 or cell[-1] in ".!?。！？" or cell.count(" ") > 3 for cell in filled):
        return False
    for place, cell in enumerate(first):
        column = [cells[place].strip() for cells in rest if place < len(cells)]
        if cell and cell in column:
            return False
    columns = list(zip(*(cells for cells in rest if len(cells) == len(first)), strict=True))
    numeric = any(all(_NUMBER.fullmatch(cell.strip()) for cell in column) for column in columns)
    long = any(
        sum(map(len, column)) > 3 * len(column) * max(1, len(name))
        for name, column in zip(first, columns, strict=False)
    )
    return bool(columns) and (numeric or long)


def delimited_rows(
    lines: Iterable[Line], *, source: str, prefer: str = ","
) -> Iterator[Row | Problem]:
    """Rows of a delimited file; a row with too few or too many cells is rejected with its line."""
    feed = iter(lines)
    sample = list(islice(feed, SAMPLE_LINES))
    dialect = find_dialect(sample, source=source, prefer=prefer)
    if isinstance(dialect, Problem):
        yield dialect
        return
    names, first = dialect.names, True
    width = len(names)
    for record in records(chain(sample, feed), dialect.delimiter, width=width, source=source):
        if isinstance(record, Problem):
            yield record
            continue
        number, cells = record
        if dialect.header:
            if first:
                first = False
                continue
            if len(cells) == len(names) and tuple(cell.strip() for cell in cells) == names:
                yield _repeated_header(source, number)
                continue
        if len(cells) != len(names):
            yield _wrong_count(dialect, cells, source, number)
            continue
        yield Row(source, number, dict(zip(names, cells, strict=True)))


def _repeated_header(source: str, number: int) -> Problem:
    return problem(
        11,
        "reject",
        source=source,
        line=number,
        message="the header is repeated here, in the middle of the rows.",
        fix="Remove this line (files were joined with their headers).",
    )


def _wrong_count(dialect: Dialect, cells: Sequence[str], source: str, number: int) -> Problem:
    many = len(cells) > len(dialect.names)
    mark = "a tab" if dialect.delimiter == "\t" else f"'{dialect.delimiter}'"
    line = dialect.delimiter.join(cells)
    return problem(
        9,
        "reject",
        source=source,
        line=number,
        value=line,
        message=(
            f"this row has {len(cells)} cell{'s' if len(cells) != 1 else ''}, "
            f"but the file has {len(dialect.names)} columns "
            f"({', '.join(shown(name, most=20) for name in dialect.names[:8])}): {quoted(line)}."
        ),
        fix=(
            f"Put double quotes around cells that hold {mark}."
            if many
            else "Fill in the missing cells, or remove the row."
        ),
    )
