"""Unlabelled text on disk, streamed as often as asked for.

In: paths. Out: documents, one at a time; never a corpus in memory.
The surprise: a document's number counts all documents, those left out by `without` too, so numbers
found by the leak check stay valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headstart.data.columns import likely_text, parts_of
from headstart.data.content import texts_in_json, unread_texts
from headstart.data.files import Document, list_files, look_at, read_documents, table_sample
from headstart.data.record import Problem, shown, stop_at

BadRows = Literal["stop", "skip"]


@dataclass(frozen=True)
class CorpusReport:
    """What one pass over a corpus found. notes: how its files are read, those alike together.

    quarantined: records set aside. problems: all of them, quarantined, rejected and warnings.
    """

    files: int
    documents: int
    characters: int
    quarantined: int
    rejected: int
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Corpus:
    """Unlabelled documents under one path or several, read from disk anew at each iteration.

    text: the column of tables; lines: see `files.read_documents`.
    dropped: numbers of documents left out (see `without`).
    bad_rows: "stop" raises InputError at the first record or file that cannot be used (an empty
        file among others is passed over); "skip" passes over all of them. `survey` counts both.
    Raises InputError when there is no data file.
    """

    paths: str | Path | Sequence[str | Path]
    text: str | None = None
    encoding: str | None = None
    lines: bool | None = None
    bad_rows: BadRows = "stop"
    dropped: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        given = [self.paths] if isinstance(self.paths, str | Path) else self.paths
        object.__setattr__(self, "paths", tuple(map(str, given)))
        list_files(self._paths)

    @property
    def _paths(self) -> tuple[str, ...]:
        assert isinstance(self.paths, tuple), "made so when the corpus was"
        return self.paths

    def __iter__(self) -> Iterator[Document]:
        for number, document in self.numbered():
            if number not in self.dropped:
                yield document

    def numbered(self) -> Iterator[tuple[int, Document]]:
        """All documents with their numbers, dropped ones included."""
        number = 0
        for item in self._read():
            if isinstance(item, Document):
                yield number, item
                number += 1
            elif item.outcome == "reject" and self.bad_rows == "stop" and not self._one_empty(item):
                stop_at([item])

    def _one_empty(self, found: Problem) -> bool:
        return found.code.endswith("005") and len(list_files(self._paths)) > 1

    def texts(self) -> Iterator[str]:
        """The text of every document."""
        return (document.text for document in self)

    def without(self, numbers: Iterable[int]) -> Corpus:
        """The same corpus less the documents of these numbers."""
        dropped = self.dropped | frozenset(int(number) for number in numbers)
        return Corpus(self.paths, self.text, self.encoding, self.lines, self.bad_rows, dropped)

    def survey(self) -> CorpusReport:
        """Go through everything once and count."""
        files = list_files(self._paths)
        notes, problems = self._how(files)
        documents = characters = 0
        for item in self._read():
            if isinstance(item, Document):
                documents += 1
                characters += len(item.text)
            else:
                problems.append(item)
        outcomes = Counter(one.outcome for one in problems)
        return CorpusReport(
            len(files),
            documents,
            characters,
            outcomes["quarantine"],
            outcomes["reject"],
            tuple(notes),
            tuple(problems),
        )

    def _how(self, files: Sequence[Path]) -> tuple[list[str], list[Problem]]:
        """How files are read, and what is odd about that, said once of all that are alike."""
        alike: dict[str, list[str]] = {}
        problems: list[Problem] = []
        for path in files:
            shape = look_at(path, encoding=self.encoding, text=True)
            if isinstance(shape, Problem):
                continue  # it is met again where its documents would be read
            how, odd = shape.note, list[Problem]()
            if shape.columns:
                sample = table_sample(path, encoding=shape.encoding or None)
                column = self.text or likely_text(sample, shape.columns)
                how += f"; text {shown(column)!r}"
                odd += texts_in_json(sample, column, shape.source)
                if self.text is None:
                    odd += unread_texts(sample, shape.columns, column, shape.source)
            if how not in alike:
                problems += odd
            alike.setdefault(how, []).append(path.name)
        notes = [
            f"{name}: {how}" if not more else f"{name} and {len(more):,} more: {how}"
            for how, (name, *more) in alike.items()
        ]
        return notes, problems

    def _read(self) -> Iterator[Document | Problem]:
        return read_documents(self._paths, text=self.text, encoding=self.encoding, lines=self.lines)


def column_of_all(
    paths: Sequence[str], text: str | None, *, encoding: str | None = None
) -> str | None:
    """The column or columns `text`, if every table under the paths has them; None otherwise."""
    if text is None or not paths:
        return None
    looks = [look_at(path, encoding=encoding, text=True) for path in list_files(paths)]
    tables = [look.columns for look in looks if not isinstance(look, Problem) and look.columns]
    known = all(set(parts_of(text, columns)) <= set(columns) for columns in tables)
    return text if tables and known else None
